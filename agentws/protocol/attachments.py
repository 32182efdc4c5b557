"""The files of a message: ids in the client's frame, and what each is in the log.

In the log they are in the message's metadata, not content parts: the content stays what the user
wrote, also for clients that know nothing of files, and AG-UI's parts have no name or size.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..errors import BadRequest
from .frames import MAX_ID, Edit, EditQueued, Send
from .messages import UserMessage, Wire

ATTACHMENTS: Final = "attachments"
"""The member of a message's metadata with its files. On the simple wire also in what is sent."""
FILE_ACTIVITY: Final = "agentws.file"
"""The ``activityType`` of a file that an agent made; the content is an :class:`AttachedFile`."""


class AttachedFile(Wire, frozen=True):
    """A file as it is in a log: enough to show it without asking. ``size`` is in bytes."""

    id: str
    name: str
    type: str
    size: int


def file_ids(frame: Send | EditQueued | Edit) -> list[str]:
    """The ids of the files that a message is sent with, each once; raises BadRequest."""
    given = (frame.metadata or {}).get(ATTACHMENTS)
    if given is None:
        ids: list[Any] = list(frame.attachments or ())
    elif frame.attachments or not isinstance(given, list):
        raise BadRequest(
            "The attachments are not valid.",
            expected="a list of file ids, in attachments or in metadata.attachments",
        )
    else:
        ids = given
    for id in ids:
        if not (isinstance(id, str) and 0 < len(id) <= MAX_ID and id.isprintable()):
            raise BadRequest("The attachments are not valid.", expected="a list of file ids")
    return list(dict.fromkeys(ids))


def files_of(message: UserMessage) -> list[AttachedFile]:
    """The files of a message in a log."""
    try:
        return msgspec.convert((message.metadata or {}).get(ATTACHMENTS) or [], list[AttachedFile])
    except msgspec.ValidationError:
        return []
