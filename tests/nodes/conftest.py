from __future__ import annotations

from tests.virtual import anyio_backend as anyio_backend
