"""Finding out who it is, at a pace at which nobody finds a key by trying."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.requests import HTTPConnection

from ..auth import Identity
from ..errors import Unauthenticated
from .rates import Paces

if TYPE_CHECKING:
    from ..gateway.gateway import AgentGateway


class Identifying:
    """Asks the host who is on a connection, of whatever transport; counts refusals by address."""

    def __init__(self, gateway: AgentGateway) -> None:
        self._gateway = gateway
        self._refused: Final = Paces(gateway.limits)
        self._admins: Final = Paces(gateway.limits)

    async def identify(self, connection: HTTPConnection) -> Identity | None:
        """Who is on the connection; raises Unauthenticated, and TooMany to whom was so too often.

        An address that has used up its tries is not asked at all: a right key, too, would tell.
        """
        address = address_of(connection.scope)
        self._refused.check(address)
        try:
            return await self._gateway.identify(connection)
        except Unauthenticated:
            self._refused.count(address)
            raise

    def is_admin(self, connection: HTTPConnection) -> bool:
        """Whether it presents the admin key. Counted before the key is looked at: TooMany."""
        gateway, headers = self._gateway, connection.headers
        if not gateway.has_admin or not ("x-api-key" in headers or "authorization" in headers):
            return False
        self._admins.count(address_of(connection.scope))
        return gateway.is_admin(connection)


def address_of(scope: Any) -> str:
    """The network address that a request comes from."""
    client = scope.get("client")
    return str(client[0]) if client else "unix"
