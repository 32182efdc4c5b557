"""A client in Python that survives lost connections. `python python_client.py [URL]`"""

import asyncio
import sys

from agentws.client import connect
from agentws.events import RunError, RunFinished, TextMessageContent


async def main(url: str) -> None:
    async with connect(url) as chat:
        print(await chat.ask("Hello in one piece"))

        turn = chat.send("Hello piece by piece")
        async for event in turn:
            match event:
                case TextMessageContent(delta=delta):
                    print(delta, end="", flush=True)
                case RunFinished() | RunError():
                    print(f"\n[{type(event).__name__}]")

        print(await chat.command("whoami"))
        print(f"Resume later with session={chat.session!r}, after={chat.position!r}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/ws/chat"))
