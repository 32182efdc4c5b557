"""What a server tells an application of a request, as far as a guard reads it."""

from __future__ import annotations

from typing import Any


def scope_of(host: str, origin: str | None = None, **more: Any) -> dict[str, Any]:
    headers = [(b"host", host.encode("latin-1"))]
    if origin is not None:
        headers.append((b"origin", origin.encode("latin-1")))
    return {"type": "http", "http_version": "1.1", "scheme": "http", "headers": headers, **more}
