"""Ann and Bob: their keys, an exchange of Ann's, and the end of a client that is refused."""

from __future__ import annotations

from typing import Any

from agentws import BearerKeys, Identity
from agentws.testing.connect import Client, Closed

from .world import World

KEYS = BearerKeys({"key-a": "ann", "key-b": Identity("bob", {"role": "admin"}), "schlüssel": "é"})


async def mine(world: World, **options: Any) -> Client:
    """Ann's client, after an exchange."""
    client = await world.client(token="key-a", **options)
    await client.until("welcome")
    await client.say("private", "m1")
    await client.until("RUN_FINISHED")
    return client


async def end_of(client: Client) -> Closed:
    closed = await client.wait_closed()
    assert not client.events(), "an event was sent to another identity"
    return closed
