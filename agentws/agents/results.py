"""The result of a tool as the content of a TOOL_CALL_RESULT, and back."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

from ..errors import ToolError
from ..protocol.messages import Content, ContentPart
from .schemas import decoded, encoded
from .tools import Tool

Kind = Literal["text", "json", "parts"]
"""What the content is: the text that the tool returned, its result as JSON, or content parts."""

_PARTS: Final = get_args(ContentPart)


def content_of(tool: str, result: Any, *, largest: int) -> tuple[Content, Kind]:
    """The content of a result, of ``largest`` bytes at most.

    Raises ToolError for a result that can't be encoded, or is larger.
    """
    content: Content
    kind: Kind
    if isinstance(result, str):
        content, kind = result, "text"
    elif isinstance(result, _PARTS):
        content, kind = [result], "parts"
    elif isinstance(result, list) and result and all(isinstance(one, _PARTS) for one in result):
        content, kind = list(result), "parts"
    else:
        content, kind = _json(tool, result), "json"
    size = _size(content)
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
        raise ToolError(f"The result of {tool} can't be encoded.") from error


def _size(content: Content) -> int:
    """The size in bytes, without encoding text a second time; in characters for plain text."""
    return len(content) if isinstance(content, str) else len(encoded(content))


def result_of(tool: Tool[..., Any], content: Content, kind: str) -> Any:
    """The result that was recorded as ``content``; JSON as the annotated type of the tool's result.

    Raises ToolError if it does not fit that type any more.
    """
    if kind != "json" or not isinstance(content, str):
        return content
    try:
        return decoded(content, tool.returns)
    except (ValueError, TypeError) as error:
        raise ToolError(f"The recorded result of {tool.name} does not fit its type.") from error
