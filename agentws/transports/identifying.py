"""Finding out who it is, at a pace at which nobody finds a key by trying."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import HTTPConnection

from ..auth import Identity
from ..errors import Unauthenticated
from .rates import Paces
from .service import CredentialService


class Identifying:
    """Asks the host who is on a connection, of whatever transport; counts refusals by address."""

    def __init__(self, service: CredentialService) -> None:
        self._service = service
        self._refused: Final = Paces(service.limits)
        self._admins: Final = Paces(service.limits)

    async def identify(self, connection: HTTPConnection) -> Identity | None:
        """Who is on the connection; raises Unauthenticated, and TooMany to whom was so too often.

        An address that has used up its tries is not asked at all: a right key, too, would tell.
        """
        address = address_of(connection.scope)
        self._refused.check(address)
        try:
            return await self._service.identify(connection)
        except Unauthenticated:
            self._refused.count(address)
            raise

    def is_admin(self, connection: HTTPConnection) -> bool:
        """Whether it presents the admin key. Counted before the key is looked at: TooMany."""
        service, headers = self._service, connection.headers
        if not service.has_admin or not ("x-api-key" in headers or "authorization" in headers):
            return False
        self._admins.count(address_of(connection.scope))
        return service.is_admin(connection)


def address_of(scope: Any) -> str:
    """The network address that a request comes from."""
    client = scope.get("client")
    return str(client[0]) if client else "unix"
