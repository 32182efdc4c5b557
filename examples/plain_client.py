"""A client without agentws: it sends text and reads JSON. `python plain_client.py [URL]`"""

import asyncio
import json
import sys

import websockets


async def main(url: str) -> None:
    async with websockets.connect(url) as socket:
        for text in ("Hello from a script", "ping", "/help"):
            await socket.send(text)
            answer = json.loads(await socket.recv())
            print(f"{answer['type']}: {answer['content']}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/ws/chat"))
