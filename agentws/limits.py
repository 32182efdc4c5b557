"""Every number of the gateway in one frozen place."""

from __future__ import annotations

import msgspec

from .protocol.sizes import EVENT


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds, rates per second. The defaults suit one public service."""

    # What a peer may send
    max_message_size: int = 64 * 1024
    """One client message, over WebSocket or as an HTTP body. OWASP: 64 KiB or less."""
    message_rate: float = 20.0
    """Client messages per second and connection, on average."""
    message_burst: int = 40
    """Client messages at once before ``message_rate`` applies."""
    byte_rate: float = 256 * 1024.0
    """Bytes per second and connection, on average; a burst of one largest message is free."""
    max_errors: int = 20
    """Bad frames in a row before the connection is closed: nonsense costs the server too."""

    # How many of what
    max_connections: int = 20_000
    """Connections of this node."""
    max_connections_per_identity: int = 100
    max_connections_per_address: int = 1_000
    """Many people share an address (offices, carriers), hence more than for one identity."""
    max_queued: int = 10
    """Messages of one session that wait for a run."""
    max_runs: int = 1_000
    """Runs of this node at once; further ones wait their turn."""
    max_runs_per_identity: int = 10

    # Runs
    run_timeout: float = 600.0
    """How long one run may take before it ends as ``timed_out``."""
    cancel_grace: float = 5.0
    """How long a cancelled agent may clean up before its run ends without it."""
    gather: float = 0.025
    """Deltas within this time of an append are written together; the first goes at once.

    40 updates a second read as a stream. The busier the node, the longer it gathers, up to
    ``max_gather``: a hundred answers at once cost less than each of them alone.
    """
    max_gather: float = 0.100
    """The longest gathering, on a node with a hundred or more runs going on."""
    max_run_size: int = 16 * 1024 * 1024
    """Bytes that one run may append."""
    max_event_size: int = EVENT
    """Bytes of one event as its frame is sent: a tool's result, a state, a notice, a message.

    Text is cut into events of at most 64 KiB instead. Nothing larger than this is sent as one
    message, so a client's own limit must not be below it.
    """
    command_timeout: float = 30.0
    """How long a command of an agent may take before it is stopped."""

    # Sessions
    replay_window: float = 600.0
    """How long after its end a run can be replayed delta by delta; then it is compacted."""
    session_idle: float = 60.0
    """A session that nobody follows and that runs nothing leaves memory after this."""
    session_retention: float | None = None
    """Sessions untouched for this long are deleted; ``None`` keeps them."""
    snapshot_messages: int = 20
    """How far back a snapshot goes; older messages are paged over HTTP."""
    tail_size: int = 64 * 1024
    """Encoded events that a session in use keeps in memory: a short absence reads no store."""

    # Time between nodes and peers
    heartbeat: float = 25.0
    """After how long without a word a client asks whether the server is there."""
    poll_interval: float = 1.0
    """How late an event can be when the bus lost its ring, while a session has a run going on."""
    idle_poll_interval: float = 2.0
    """The same for sessions without one."""
    lease_ttl: float = 10.0
    """How long a dead node's sessions wait for another."""
    drain_timeout: float = 10.0
    """How long runs may go on after a shutdown began."""
