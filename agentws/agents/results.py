"""The result of a tool as the content of a TOOL_CALL_RESULT, and back."""

from __future__ import annotations

import logging
from typing import Any, Final, Literal, get_args

import msgspec

from ..errors import BadRequest, ToolError
from ..protocol.messages import Content, ContentPart
from ..protocol.strict import check_value
from ..protocol.text import plain
from .schemas import decoded, encoded, has_schema
from .tools import Tool

logger: Final = logging.getLogger("agentws.run")

Kind = Literal["text", "json", "parts"]
"""What the content is: the text that the tool returned, its result as JSON, or content parts."""

_PARTS: Final = get_args(ContentPart)
_LARGEST_CHARACTER: Final = 6
"""Bytes of the largest ASCII character in JSON: a control character."""


def content_of(tool: str, result: Any, *, largest: int) -> tuple[Content, Kind]:
    """The content of a result, of ``largest`` bytes at most.

    Raises ToolError for a result that can't be encoded, or is larger.
    """
    content: Content
    kind: Kind
    if isinstance(result, str):
        content, kind = plain(result), "text"
    elif isinstance(result, _PARTS):
        content, kind = [result], "parts"
    elif isinstance(result, list) and result and all(isinstance(one, _PARTS) for one in result):
        content, kind = list(result), "parts"
    else:
        content, kind = _json(tool, result), "json"
    size = _size(tool, content, largest)
    if size > largest:
        raise ToolError(
            f"The result of {tool} has {size} bytes, which is too large.",
            expected=f"at most {largest}",
        )
    return content, kind


def _json(tool: str, result: Any) -> str:
    try:
        return encoded(result).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        # Only the log says why: a user and a model read the sentence.
        logger.error("the result of the tool %s can't be encoded", tool, exc_info=error)
        raise ToolError(f"The result of {tool} can't be encoded.") from error


def _size(tool: str, content: Content, largest: int) -> int:
    """The size in bytes; in characters for text that is too large, or small enough, in any case.

    Raises ToolError for content that an event can't hold.
    """
    if isinstance(content, str) and "\x00" not in content:
        is_small = len(content) * _LARGEST_CHARACTER <= largest and content.isascii()
        if is_small or len(content) > largest:
            return len(content)
    try:
        check_value(msgspec.to_builtins(content), "result")
        return len(encoded(content))
    except (BadRequest, ValueError) as error:
        raise ToolError(
            f"The result of {tool} can't be written.",
            expected="text without lone surrogates and U+0000",
        ) from error


def result_of(tool: Tool[..., Any], content: Content, kind: str) -> Any:
    """The result that was recorded as ``content``; JSON as the annotated type of the tool's result.

    It is plain data if JSON can't be read as that type, or if there is none. Raises ToolError if
    it does not fit that type any more.
    """
    returns = tool.returns
    try:
        if isinstance(content, str) and kind == "json":
            return decoded(content, returns if has_schema(returns) else Any)
        if isinstance(content, str):
            return returns(content) if _is_class_of(str, returns) else content
        return content[0] if returns in _PARTS and len(content) == 1 else content
    except (ValueError, TypeError) as error:
        raise ToolError(f"The recorded result of {tool.name} does not fit its type.") from error


def _is_class_of(base: type, type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, base) and type_ is not base
