"""Authentication and authorization: the identity on a connection, and what it may do."""

from __future__ import annotations

import base64
import binascii
import hmac
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

import msgspec

from .errors import AgentwsError, Forbidden, NotSupported, Unauthenticated
from .protocol.frames import BEARER
from .protocol.text import plain
from .store import SessionInfo

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

logger: Final = logging.getLogger("agentws")


MAX_IDENTITY: Final = 1024
"""Bytes of the id of an identity: it is in keys and indexes of stores, and in many events. A longer
text is most likely a token, which must not be stored."""


class Identity(msgspec.Struct, frozen=True, omit_defaults=True):
    """A user as the host's ``authenticate`` returns it. A client can't set it by a frame.

    ``id`` is text of at most 1024 bytes; an int or a UUID is converted to text. ``claims`` are for
    the agent (a name, a tenant, roles); they are not stored with the session. Raises TypeError for
    an ``id`` of another type, for text that can't be stored, and for claims that are no mapping.
    """

    id: str
    claims: Mapping[str, Any] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if type(self.id) is not str:
            msgspec.structs.force_setattr(self, "id", _text_of(self.id))
        if not self.id.isascii() or "\x00" in self.id or len(self.id) > MAX_IDENTITY:
            _check_text(self.id)
        if not isinstance(self.claims, Mapping):
            raise TypeError(
                f"the claims of an identity are {type(self.claims).__name__}; expected a mapping"
            )

    def __repr__(self) -> str:
        """Without the claims: they may be secret, and a repr may be logged."""
        return f"Identity({self.id!r})"


def _text_of(id: object) -> str:
    """``id`` as an exact ``str``, also for a subclass of it, which not every encoder accepts."""
    if isinstance(id, str):
        return plain(id)
    if isinstance(id, int | UUID) and not isinstance(id, bool):
        return str(int(id)) if isinstance(id, int) else str(id)
    raise TypeError(
        f"the id of an identity is {type(id).__name__}; expected a str, an int or a UUID"
    )


def _check_text(id: str) -> None:
    try:
        size = len(id.encode())
    except UnicodeEncodeError:
        raise TypeError("the id of an identity has lone surrogates; expected Unicode") from None
    if size > MAX_IDENTITY:
        raise TypeError(
            f"the id of an identity has {size} bytes; expected {MAX_IDENTITY} at most, and no token"
        )
    if "\x00" in id:
        raise TypeError("the id of an identity has U+0000; expected text without it")


def as_identity(value: object) -> Identity | None:
    """The identity for a value that ``authenticate`` returned; ``None`` if it identifies nobody.

    So do an empty id, 0 and False: they come from a missing header or column, and would be one
    identity for everybody. Raises TypeError for anything else, such as a user object or a
    dict of claims: treated as nobody, a mistake of the host would look like wrong credentials.
    """
    if isinstance(value, Identity):
        return value if value.id else None
    if value is None or (isinstance(value, str | int) and not value):
        return None
    if isinstance(value, str | int | UUID) and value is not True:
        return Identity(value)  # type: ignore[arg-type]
    raise TypeError(
        f"authenticate returned {type(value).__name__}; expected an Identity, or its id as a str, "
        "an int or a UUID, or None for nobody"
    )


Authenticate = Callable[
    ["HTTPConnection"],
    "Identity | str | int | UUID | None | Awaitable[Identity | str | int | UUID | None]",
]
"""Returns the identity on a connection, or its id; ``None`` is nobody, and is refused."""

Action = Literal["read", "write", "delete"]
Authorize = Callable[[Identity | None, SessionInfo, Action], bool | Awaitable[bool]]
"""Whether an identity may do an action in a session; only ``True`` allows it. A web framework's
HTTP exception of status 401, 403 or 404 is the same as ``False``."""
MaySubscribe = Callable[[Identity | None, str], bool | Awaitable[bool]]
"""Whether an identity may follow the topic of that name, as :data:`Authorize` says it."""


def check_callable(name: str, option: object) -> None:
    """Raises TypeError for an option that can't be called, at the mount and not at a request."""
    if option is not None and not callable(option):
        raise TypeError(f"{name} is {type(option).__name__}; expected a callable, or None")


def check_key(what: str, key: object) -> None:
    """Raises TypeError or ValueError for a key that no client can send; never repeats the key."""
    if not isinstance(key, str):
        raise TypeError(f"{what} is {type(key).__name__}; expected a string")
    if not key.isprintable() or key != key.strip():
        raise ValueError(
            f"{what} has control characters, or spaces at its ends; expected text that a header "
            "can carry"
        )


async def identify(
    authenticate: Authenticate | None, connection: HTTPConnection
) -> Identity | None:
    """The identity on ``connection``; ``None`` only if no authentication is configured.

    Raises Unauthenticated; Forbidden if the host's callable raises its framework's HTTP 403;
    TypeError if it returns something that is no identity. Any other exception of the callable
    propagates.
    """
    if authenticate is None:
        return None
    try:
        found = authenticate(connection)
        if inspect.isawaitable(found):
            found = await found
    except Exception as error:
        refusal = _REFUSALS.get(http_status(error))
        if refusal is None:
            raise
        raise refusal() from error
    identity = as_identity(found)
    if identity is None:
        raise Unauthenticated()
    return identity


_REFUSALS: Final[Mapping[object, type[AgentwsError]]] = {401: Unauthenticated, 403: Forbidden}
"""By status: the HTTP exceptions of web frameworks that ``authenticate`` may raise."""
_DENIALS: Final = frozenset({401, 403, 404})
"""Those by which ``authorize`` and ``may_subscribe`` say no. A 404 hides that something exists."""


def http_status(error: Exception) -> int | None:
    """The status of a web framework's HTTP exception; ``None`` for any other one."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


NOT_YOURS: Final = "This session is not yours."
NOT_THIS_TOPIC: Final = "You may not follow this topic."


def check_owner(identity: Identity | None, info: SessionInfo) -> None:
    """Raises Forbidden unless the session is the identity's; one without an owner is that of
    callers without an identity. It is the whole check unless :attr:`Access.calls_host`.
    """
    if info.owner != (None if identity is None else identity.id):
        raise Forbidden(NOT_YOURS)


class Access:
    """Decides about access to sessions: the owner may do everything, unless the host decides."""

    def __init__(self, authorize: Authorize | None) -> None:
        self._authorize = authorize
        self.calls_host: Final = authorize is not None
        """Whether the host's ``authorize`` is called, which may wait for something."""

    async def check(self, identity: Identity | None, info: SessionInfo, action: Action) -> None:
        """Raises Forbidden; it does not reveal whether the session exists."""
        if self._authorize is None:
            check_owner(identity, info)
            return
        try:
            answer = self._authorize(identity, info, action)
            allowed = await answer if inspect.isawaitable(answer) else answer
        except Exception as error:
            if http_status(error) in _DENIALS:
                raise Forbidden(NOT_YOURS) from error
            raise
        _check_answer("authorize", allowed)
        if allowed is not True:
            raise Forbidden(NOT_YOURS)


class TopicAccess:
    """Decides about access to topics: nobody may follow one, unless the host allows it."""

    def __init__(self, may_subscribe: MaySubscribe | None) -> None:
        self._may_subscribe = may_subscribe

    async def check(self, identity: Identity | None, topic: str) -> None:
        """Raises Forbidden, which does not reveal whether the topic exists; NotSupported."""
        if self._may_subscribe is None:
            raise NotSupported(
                "Topics are not offered.", expected="may_subscribe where the gateway is mounted"
            )
        try:
            answer = self._may_subscribe(identity, topic)
            allowed = await answer if inspect.isawaitable(answer) else answer
        except Exception as error:
            if http_status(error) in _DENIALS:
                raise Forbidden(NOT_THIS_TOPIC) from error
            raise
        _check_answer("may_subscribe", allowed)
        if allowed is not True:
            raise Forbidden(NOT_THIS_TOPIC)


def _check_answer(name: str, answer: object) -> None:
    """Logs a TypeError for anything but a bool, as this mistake of the host refuses everybody."""
    if not isinstance(answer, bool):
        error = TypeError(f"{name} returned {type(answer).__name__}; expected True or False")
        logger.error("access was refused, as %s returned no bool", name, exc_info=error)


def bearer_token(connection: HTTPConnection) -> str | None:
    """The client's bearer token, from the ``Authorization`` header or a subprotocol entry.

    Browsers can't set headers on a WebSocket, so the token may be base64url-encoded in a
    subprotocol. Unlike a query string, a subprotocol is not written to access logs.
    """
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    for entry in connection.scope.get("subprotocols", ()):
        if entry.startswith(BEARER):
            return _unbase64(entry.removeprefix(BEARER))
    return None


def _unbase64(text: str) -> str | None:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError):
        return None


class BearerKeys:
    """An ``authenticate`` with fixed keys: ``BearerKeys({"key": "who"})``.

    Every key is compared in constant time, so that timing reveals nothing about them.
    """

    def __init__(self, keys: Mapping[str, str | Identity]) -> None:
        """Raises TypeError or ValueError for a key that is empty, or that no client can send."""
        if not isinstance(keys, Mapping):
            raise TypeError(f"the keys are {type(keys).__name__}; expected a mapping of key to id")
        self._keys: Final = [(_bytes_of(key), _holder_of(who)) for key, who in keys.items()]

    def __repr__(self) -> str:
        return f"<BearerKeys keys={len(self._keys)}>"

    def __call__(self, connection: HTTPConnection) -> Identity | None:
        token = bearer_token(connection)
        if token is None:
            return None
        found: Identity | None = None
        for key, identity in self._keys:
            if hmac.compare_digest(key, token.encode()):
                found = identity
        return found


def _bytes_of(key: str) -> bytes:
    check_key("a key", key)
    if not key:
        raise ValueError("a key is empty; expected a secret text")
    return key.encode()


def _holder_of(who: str | Identity) -> Identity:
    holder = who if isinstance(who, Identity) else Identity(who)
    if not holder.id:
        raise ValueError("the identity of a key is empty; expected the id of a user")
    return holder


def is_admin(admin_key: str | None, connection: HTTPConnection) -> bool:
    """Whether the client sent the admin key, as a bearer token or in ``X-API-Key``."""
    if not admin_key:
        # An empty key is a forgotten setting: it must not match a client that sends no key.
        return False
    presented = connection.headers.get("x-api-key") or bearer_token(connection) or ""
    return hmac.compare_digest(admin_key.encode(), presented.encode())
