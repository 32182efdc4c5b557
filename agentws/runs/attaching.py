"""Decides which files a message may be sent with, before it is accepted."""

from __future__ import annotations

from ..attachments.library import Files
from ..errors import BadRequest, NotSupported
from ..protocol.attachments import ATTACHMENTS, AttachedFile, file_ids
from ..protocol.frames import Edit, EditQueued, Send
from ..protocol.messages import Content


def has_files(frame: Send | EditQueued) -> bool:
    """Whether a message names files. On the simple wire they are in the metadata."""
    return bool(frame.attachments) or (frame.metadata is not None and ATTACHMENTS in frame.metadata)


def check_content(frame: Send | EditQueued | Edit) -> None:
    """Raises BadRequest for a message with neither content nor files, and for wrong attachments."""
    if _is_blank(frame.content) and not file_ids(frame):
        raise BadRequest("This message is empty.", expected="some text, or a file")


def check_text(content: str) -> None:
    """Raises BadRequest for a message of the server without text."""
    if _is_blank(content):
        raise BadRequest("This message is empty.", expected="some text")


def _is_blank(content: Content) -> bool:
    return not content.strip() if isinstance(content, str) else not content


async def attach_files(
    files: Files | None, frame: Send | EditQueued, *, session: str, by: str | None
) -> list[AttachedFile]:
    """Attaches the files of a message to its session; returns what its log says of them.

    Raises BadRequest, NotFound for a file that is not the sender's, and NotSupported if the gateway
    keeps no files. The message is then not accepted.
    """
    ids = file_ids(frame)
    if not ids:
        return []
    if files is None:
        raise NotSupported("This gateway keeps no files.", expected="a message without attachments")
    return await files.attach(ids, session=session, by=by)
