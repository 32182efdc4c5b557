"""The files of a run: those that came with a message, and those that the agent makes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Protocol

import msgspec

from ..attachments.library import Files, attached
from ..errors import NotSupported, TooLarge
from ..protocol.attachments import FILE_ACTIVITY, AttachedFile, files_of
from ..protocol.events import ActivitySnapshot
from ..protocol.messages import ActivityMessage, Message, UserMessage, told_in
from ..store import SessionInfo
from .output import RunOutput
from .steps import Work

Data = bytes | str | AsyncIterable[bytes]
"""The content of a new file; text is written as UTF-8."""


class Attachment:
    """A file of the conversation. ``size`` is in bytes; ``type`` was recognized by the content."""

    __slots__ = ("_files", "_session", "id", "name", "size", "type")

    def __init__(self, file: AttachedFile, files: Files | None, session: str) -> None:
        self.id = file.id
        self.name = file.name
        self.type = file.type
        self.size = file.size
        self._files = files
        self._session = session

    def __repr__(self) -> str:
        return f"<Attachment {self.name!r} {self.type} {self.size} bytes>"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """The content, in chunks of at most a megabyte: ``async with file.open() as chunks``.

        Raises NotFound when the file was deleted, NotSupported if the gateway keeps no files.
        """
        files = _checked(self._files)
        await files.in_session(self.id, self._session)
        async with aclosing(files.store.read(self.id)) as chunks:
            yield chunks

    async def read(self, *, limit: int) -> bytes:
        """The whole content; raises TooLarge if it has more than ``limit`` bytes."""
        if self.size > limit:
            raise TooLarge(
                f"The file {self.name} has {self.size} bytes.", expected=f"at most {limit}"
            )
        async with self.open() as chunks:
            return b"".join([chunk async for chunk in chunks])


def attachments_of(message: UserMessage, files: Files | None, session: str) -> list[Attachment]:
    """The files that were sent with a message of the session."""
    return [Attachment(file, files, session) for file in files_of(message)]


class Writer(Protocol):
    """What a new file needs of the context of its run."""

    @property
    def output(self) -> RunOutput: ...

    @property
    def work(self) -> tuple[Work, ...]: ...

    @property
    def session(self) -> SessionInfo: ...

    async def earlier(self) -> list[Message]: ...


async def write_file(
    ctx: Writer, files: Files | None, name: str, data: Data, type: str | None
) -> Attachment:
    """Stores a file of the session, then shows it: an activity, which the history keeps.

    An agent that is called again gets the file that it made before.
    """
    kept, session, steps = _checked(files), ctx.session, ctx.output.steps
    step = steps.next("file", name, b"", ctx.work)
    known = _made_in(step, await ctx.earlier()) if steps.replaying else None
    if known is not None:
        return Attachment(known, kept, session.id)
    await steps.caught_up(ctx.work)
    async with aclosing(_chunks(data)) as chunks:
        info = await kept.write(
            chunks, name=name, type=type, owner=session.owner, session=session.id
        )
    file = attached(info)
    shown, told = msgspec.to_builtins(file), {"agentws": {"step": step}}
    ctx.output.record(ActivitySnapshot(info.id, FILE_ACTIVITY, shown, metadata=told))
    await ctx.output.wait_for_room()
    return Attachment(file, kept, session.id)


def _made_in(step: str, earlier: Sequence[Message]) -> AttachedFile | None:
    for message in earlier:
        if isinstance(message, ActivityMessage) and told_in(message.metadata).get("step") == step:
            return msgspec.convert(message.content, AttachedFile)
    return None


async def _chunks(data: Data) -> AsyncGenerator[bytes, None]:
    if isinstance(data, str):
        yield data.encode()
    elif isinstance(data, bytes | bytearray | memoryview):
        yield bytes(data)
    else:
        async for chunk in data:
            yield chunk


def _checked(files: Files | None) -> Files:
    if files is None:
        raise NotSupported(
            "This gateway keeps no files.", expected="a file store: mount_agent_gateway(files=...)"
        )
    return files
