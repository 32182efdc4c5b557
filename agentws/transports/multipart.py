"""The files in a multipart body, part by part as they arrive. The only file that knows
python-multipart, whose parser Starlette uses, too.

Starlette's form would write every part to a temporary file first; here each chunk goes on at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ..errors import BadRequest, TooLarge

FORM: Final = "multipart/form-data"
MAX_OTHER: Final = 256 * 1024
"""Bytes of a body that belong to no file: fields, headers, boundaries."""
_EXPECTED: Final = "multipart/form-data with a boundary, and at least one file in it"
_ESCAPED: Final = {"%22": '"', "%0D": " ", "%0A": " ", "%0d": " ", "%0a": " "}
"""How browsers write these characters of a file's name (HTML, "multipart/form-data encoding")."""


class Part(NamedTuple):
    """The beginning of a part. ``filename`` is ``None`` for a field that is no file."""

    filename: str | None
    type: str | None


class _End(NamedTuple):
    """The end of a part."""


_Event = Part | bytes | _End


class FilePart:
    """One file of a form. Read :meth:`chunks` to its end before the next one."""

    def __init__(self, part: Part, events: AsyncIterator[_Event]) -> None:
        self.name: Final = part.filename
        self.type: Final = part.type
        self._events = events
        self._ended = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        while not self._ended:
            event = await anext(self._events)
            if isinstance(event, bytes):
                yield event
            else:
                self._ended = True


async def files_in(body: AsyncIterator[bytes], content_type: str) -> AsyncGenerator[FilePart, None]:
    """The files of a form. Raises BadRequest for a body that is none, and TooLarge."""
    form = _Form(content_type)
    events = form.events(body)
    async for event in events:
        if isinstance(event, Part) and event.filename is not None:
            yield FilePart(event, events)


class _Form:
    """Feeds the parser, and turns its callbacks into events."""

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        if kind != FORM.encode() or not options.get(b"boundary"):
            raise BadRequest("This body is not a form with files.", expected=_EXPECTED)
        self._found: deque[_Event] = deque()
        self._field = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._in_file = False
        self._complete = False
        self._other = 0
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_data": self._data,
                    "on_part_end": self._part_end,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise BadRequest("The boundary is not valid.", expected=_EXPECTED) from error

    async def events(self, body: AsyncIterator[bytes]) -> AsyncGenerator[_Event, None]:
        async for chunk in body:
            self._other += len(chunk)
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise BadRequest("This form can't be read.", expected=_EXPECTED) from error
            while self._found:
                event = self._found.popleft()
                self._other -= len(event) if isinstance(event, bytes) else 0
                yield event
            if self._other > MAX_OTHER:
                raise TooLarge(
                    "This form has more than its files.", expected=f"at most {MAX_OTHER} bytes more"
                )
        if not self._complete:
            raise BadRequest("This form ends too early.", expected="its last boundary")

    # Callbacks of the parser

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _headers_finished(self) -> None:
        headers, self._headers = self._headers, {}
        _, options = parse_options_header(headers.get(b"content-disposition", b""))
        kind = headers.get(b"content-type")
        name = options.get(b"filename")
        self._in_file = name is not None
        self._found.append(
            Part(
                None if name is None else _file_name(name),
                None if kind is None else kind.decode("latin-1"),
            )
        )

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._found.append(data[start:end])

    def _part_end(self) -> None:
        self._in_file = False
        self._found.append(_End())

    def _end(self) -> None:
        self._complete = True


def _file_name(sent: bytes) -> str:
    name = sent.decode(errors="replace")
    for escaped, char in _ESCAPED.items():
        name = name.replace(escaped, char)
    return name
