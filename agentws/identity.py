"""Who someone is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec


class Identity(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who someone is, as the host's own authentication says. Never taken from a frame.

    ``id`` is text; an int or a UUID is taken as its text. Raises TypeError for anything else, and
    for text that no log can hold. ``claims`` are for the agent (a name, a tenant, roles); they are
    not stored with the session.
    """

    id: str
    claims: Mapping[str, Any] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if type(self.id) is not str:
            msgspec.structs.force_setattr(self, "id", _text_of(self.id))
        if not self.id.isascii() or "\x00" in self.id:
            _check_text(self.id)
        if not isinstance(self.claims, Mapping):
            raise TypeError(
                f"the claims of an identity are {type(self.claims).__name__}; expected a mapping"
            )

    def __repr__(self) -> str:
        """Without the claims: those may be secret, and reprs end up in logs."""
        return f"Identity({self.id!r})"


def as_identity(value: object) -> Identity | None:
    """What the host's ``authenticate`` returned; ``None``, or an empty id, is nobody.

    Raises TypeError for anything else, a user object or a dict of claims for instance: taken for
    nobody, a mistake of the host's would look like wrong credentials.
    An empty id, 0 and False are nobody, too: they come of a missing header or column, and would be
    one person for everybody.
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


def _text_of(id: object) -> str:
    """Also the plain text of a subclass of ``str``, which not every encoder takes."""
    if isinstance(id, str):
        return str.__str__(id)
    if isinstance(id, int | UUID) and not isinstance(id, bool):
        return str(int(id)) if isinstance(id, int) else str(id)
    raise TypeError(
        f"the id of an identity is {type(id).__name__}; expected a str, an int or a UUID"
    )


def _check_text(id: str) -> None:
    try:
        id.encode()
    except UnicodeEncodeError:
        raise TypeError("the id of an identity has lone surrogates; expected Unicode") from None
    if "\x00" in id:
        raise TypeError("the id of an identity has U+0000; expected text without it")
