"""Authentication with a rate limit on failed attempts (brute force), per address."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import HTTPConnection

from ..auth import Identity
from ..errors import Unauthenticated
from .rates import Paces
from .service import CredentialService


class Identifying:
    """Calls the host's ``authenticate`` for every transport; counts failures by address."""

    def __init__(self, service: CredentialService) -> None:
        self._service = service
        self._refused: Final = Paces(service.limits)
        self._admins: Final = Paces(service.limits)

    async def identify(self, connection: HTTPConnection) -> Identity | None:
        """The identity on the connection. Raises Unauthenticated, TooMany.

        An address with too many failures is refused before ``authenticate`` is called: otherwise a
        correct guess would still be recognizable.
        """
        address = address_of(connection.scope)
        self._refused.check(address)
        try:
            return await self._service.identify(connection)
        except Unauthenticated:
            self._refused.count(address)
            raise

    def is_admin(self, connection: HTTPConnection) -> bool:
        """Whether it presents the admin key. Attempts are counted first; raises TooMany."""
        service, headers = self._service, connection.headers
        if not service.has_admin or not ("x-api-key" in headers or "authorization" in headers):
            return False
        self._admins.count(address_of(connection.scope))
        return service.is_admin(connection)


def address_of(scope: Any) -> str:
    """The client's network address; ``unix`` for a Unix socket."""
    client = scope.get("client")
    return str(client[0]) if client else "unix"
