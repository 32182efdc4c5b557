"""Files: reads what the user attaches, and answers with a file. `python files.py`

Without a browser:

    curl -F file=@notes.txt "http://localhost:8000/files?session=ses_0123456789abcdef"
"""

import os
from collections import Counter
from collections.abc import AsyncIterator

from starlette.applications import Starlette

from agentws import Agent, Attachment, DiskFileStore, Limits, RunContext, mount_agent_gateway
from agentws.server import serve

LARGEST = 1024 * 1024


class WordCounter(Agent):
    """Counts the words of text files, and gives the counts back as a table."""

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        if not ctx.attachments:
            yield "Attach a text file, and I count its words."
            return
        for file in ctx.attachments:
            if not file.type.startswith("text/"):
                yield f"{file.name} is {file.type}: that has no words. "
                continue
            yield f"Reading {file.name}, {file.size} bytes. "
            counts = await self.words(file)
            await ctx.write_file(f"{file.name}.csv", self.table(counts), type="text/csv")
            yield f"It has {counts.total()} words. "

    async def words(self, file: Attachment) -> Counter[str]:
        """Reads the file in chunks: it may be larger than memory. A word may be cut between two."""
        counts, rest = Counter[str](), b""
        async with file.open() as chunks:
            async for chunk in chunks:
                *whole, rest = (rest + chunk).split(b" ")
                counts.update(text(b" ".join(whole)))
        counts.update(text(rest))
        return counts

    async def table(self, counts: Counter[str]) -> AsyncIterator[bytes]:
        """The rows are stored as they are made."""
        yield b"word,count\n"
        for word, count in counts.most_common():
            yield f"{word},{count}\n".encode()


def text(data: bytes) -> list[str]:
    return [word for word in data.decode(errors="replace").lower().split() if word.isalpha()]


app = Starlette()
gateway = mount_agent_gateway(
    app,
    WordCounter,
    files=DiskFileStore(os.environ.get("CHAT_FILES", "files")),
    limits=Limits(max_file_size=LARGEST, file_types=("text/*", "application/pdf", "image/*")),
)

if __name__ == "__main__":
    serve(app, port=int(os.environ.get("PORT", "8000")))
