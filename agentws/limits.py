"""Every numeric setting of the gateway: sizes, rates, counts, timeouts.

To add a setting that is a number, add a field here, with its unit and its reason in the docstring
below it, and a row in ``docs/reference/settings.md``. The code that uses it gets ``Limits`` passed
in. Any other setting (a store, a callable, a key) is a keyword-only option of
``mount_agent_gateway`` in ``mount.py``.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from .protocol.sizes import EVENT
from .settings import Count, CountOrZero, Delay, Rate, Seconds, check_settings

EventSize = Annotated[int, Meta(ge=4096, le=2**53, description="a whole number from 4096 to 2**53")]
"""Below it, the gateway's own events would not fit: the start of a run has its message."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds, rates per second. The defaults suit one public service."""

    # What one connection may send
    max_message_size: Count = 64 * 1024
    """One client message, over WebSocket or as an HTTP body. OWASP: 64 KiB or less."""
    message_rate: Rate = 20.0
    """Client messages per second and connection, on average."""
    message_burst: Count = 40
    """Client messages at once before ``message_rate`` applies."""
    byte_rate: Rate = 256 * 1024.0
    """Bytes per second and connection, on average; one message of any size may come at once."""
    read_rate: Rate = 100.0
    """GET requests per second of one caller over HTTP, on average; a stream of events is no read.

    A search and an export count as 20: the store reads many sessions, or a whole one, for them.
    """
    read_burst: Count = 400
    """Reads at once before ``read_rate`` applies."""
    max_errors: Count = 20
    """Invalid frames in a row before the connection is closed: refusing them costs CPU too."""

    # Counts
    max_connections: Count = 20_000
    """Connections of this node."""
    max_connections_per_identity: Count = 100
    max_connections_per_address: Count = 1_000
    """Many people share an address (offices, carriers), hence more than for one identity."""
    max_subscriptions: CountOrZero = 50
    """Topics that one connection may follow."""
    max_queued: Count = 10
    """Messages of one session that wait in its queue for a run."""
    max_runs: Count = 1_000
    """Concurrent runs of this node; further ones wait until one ends."""
    max_runs_per_identity: Count = 10
    max_parked: CountOrZero = 1_000
    """Agents of this node that wait in memory for answers. Beyond that the one that has waited
    longest is let go: it is called again when its answer comes."""

    # Runs
    run_timeout: Seconds = 600.0
    """How long one run may take before it ends as ``timed_out``."""
    park: Delay = 300.0
    """How long an agent that has asked waits in memory for the answer; see ``max_parked``."""
    cancel_grace: Delay = 5.0
    """How long a cancelled agent may clean up before its run ends without it."""
    gather: Delay = 0.025
    """Deltas within this time after an append are written together (batching, coalescing).

    The first delta is written at once. 40 updates a second still look like a stream. A busy node
    gathers longer, up to ``max_gather``: then a hundred concurrent answers need fewer appends.
    """
    max_gather: Delay = 0.100
    """The longest gathering, on a node with a hundred or more active runs."""
    max_run_size: Count = 16 * 1024 * 1024
    """Bytes that one run may append."""
    max_event_size: EventSize = EVENT
    """Bytes of one event as it is sent: a tool's result, a state, a notice, a message.

    Text is split into events of at most 64 KiB instead. The server sends no message larger than
    this, so a client's own limit must not be below it.
    """
    max_handoffs: CountOrZero = 8
    """How often the agents of one run may hand the conversation over; more is a loop."""
    max_delegates: CountOrZero = 32
    """Delegates of one run together, at any depth: each is a call of a model that costs money."""
    max_delegate_depth: CountOrZero = 4
    """How deeply delegates may be nested; a delegate of the run's own agent is at depth 1."""
    command_timeout: Seconds = 30.0
    """How long an agent's slash command, or its ``title``, may take before it is cancelled."""

    # Files
    max_file_size: Count = 10 * 1024 * 1024
    """Bytes of one file, uploaded or made by an agent."""
    max_files_per_message: CountOrZero = 10
    """Attachments of one message, and files of one upload."""
    file_types: tuple[str, ...] = ("*/*",)
    """Types that may be uploaded, such as ``image/*``. Recognized by content, not by the name."""
    file_quota: CountOrZero = 1024 * 1024 * 1024
    """Bytes of all files of one identity, or of one anonymous session."""
    max_files: CountOrZero = 1_000
    """Files of one identity, or of one anonymous session."""
    max_uploads: Count = 100
    """Concurrent uploads of this node."""
    max_uploads_per_caller: Count = 10
    """Concurrent uploads of one identity, or of one network address without one, on this node."""
    upload_timeout: Seconds = 600.0
    """How long one upload may take."""
    file_expiry: Delay = 24 * 3600.0
    """How long an uploaded file may wait for the message that it is attached to."""

    # Sessions
    replay_window: Delay = 600.0
    """How long after its end a run can be replayed delta by delta; then compaction folds it."""
    session_idle: Delay = 60.0
    """A session without followers and without a run is evicted from memory after this."""
    session_retention: Delay | None = None
    """Sessions that were not used for this long are deleted; ``None`` keeps them.

    A session may have its own, which a client can't set to more than this.
    """
    title_length: CountOrZero = 60
    """Characters of a title that is made of the first message, at most; 0: none are named."""
    snapshot_messages: Count = 20
    """The messages of a snapshot; clients page through older ones over HTTP."""
    topic_posts: Count = 1_000
    """The newest posts that a topic keeps, about; older ones are trimmed."""
    topic_retention: Delay | None = 7 * 24 * 3600.0
    """How long a topic keeps a post, besides the newest one; ``None``: until there are too many."""
    tail_size: CountOrZero = 64 * 1024
    """Encoded events per session kept in memory, so that a short reconnect reads no store."""

    # Nodes and connections
    heartbeat: Seconds = 25.0
    """A client that has received nothing for this long sends a ping (half-open connection)."""
    poll_interval: Seconds = 1.0
    """How late an event can be if its bell was lost, while the session has an active run."""
    idle_poll_interval: Seconds = 2.0
    """The same for sessions without an active run."""
    lease_ttl: Seconds = 10.0
    """How long after a node's death another node may take over its sessions."""
    max_loop_stall: Delay = 60.0
    """How long an agent may block the event loop and keep its run.

    Meanwhile a thread renews the leases, if the store can. After that the process counts as hung,
    and other nodes take over its sessions.
    """
    attempt_window: Delay = 600.0
    """How long after an answer was begun another attempt at it may begin, if its node was lost and
    ``Agent.attempts`` allows it. Much later nobody waits for it."""
    drain_timeout: Delay = 10.0
    """How long active runs may go on after a shutdown has begun."""
    drain_window: Delay = 5.0
    """The time over which a shutdown closes many connections, and over which their clients are told
    to come back. At most ``drain_timeout``; few connections are closed at once."""

    def __post_init__(self) -> None:
        check_settings(self)
