"""Drops the connection in the middle of an answer, and resumes. `python resume.py`"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
import websockets
from starlette.applications import Starlette

from agentws import RunContext, mount_agent_gateway


async def count(ctx: RunContext) -> AsyncIterator[str]:
    for word in ("one", "two", "three", "four", "five", "six"):
        yield word + " "
        await asyncio.sleep(0.1)


app = Starlette()
gateway = mount_agent_gateway(app, count)


async def frames(connection: websockets.ClientConnection) -> AsyncIterator[dict[str, Any]]:
    """The frames. A message of the server is one frame, or an array of several."""
    async for message in connection:
        found = json.loads(message)
        for frame in found if isinstance(found, list) else [found]:
            yield frame


async def show(url: str) -> None:
    protocols = [websockets.Subprotocol("agentws.v1")]
    session = after = said = ""
    async with websockets.connect(url, subprotocols=protocols) as connection:
        print("-> send     count to six")
        await connection.send('{"type": "send", "id": "msg-1", "content": "count to six"}')
        async for frame in frames(connection):
            session = frame.get("session", session)
            after = frame.get("id", after)
            said += frame.get("event", {}).get("delta", "")
            if "three" in said:
                break
        print(f"<- delta    {said}")
        connection.transport.abort()
    print("   the connection is lost; the agent keeps running")
    await asyncio.sleep(1.0)
    url = f"{url}?session={session}&after={after}"
    said = ""
    async with websockets.connect(url, subprotocols=protocols) as connection:
        async for frame in frames(connection):
            match frame:
                case {"type": "welcome", "resume": resume}:
                    print(f"<- welcome  resume: {resume}")
                case {"event": {"delta": delta}}:
                    said += delta
                case {"event": {"type": "RUN_FINISHED"}}:
                    print(f"<- delta    {said}")
                    print("<- RUN_FINISHED")
                    return


async def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await show(f"ws://127.0.0.1:{listener.getsockname()[1]}/ws/chat")
    finally:
        server.should_exit = True
        await serving


if __name__ == "__main__":
    asyncio.run(main())
