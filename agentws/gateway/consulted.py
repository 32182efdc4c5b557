"""What the agent of a session is asked outside of a run: its commands, and what it accepts."""

from __future__ import annotations

from ..agents.commands import CommandContext, Typed
from ..agents.factory import Agents
from ..agents.sharing import AcceptsState
from ..auth import Identity
from ..errors import AgentwsError
from ..protocol import frames as f
from ..protocol.messages import Message
from ..runs.builtin import builtin_commands
from ..runs.commands import Invocation, commands_of
from ..runs.consulting import consult
from ..runs.inbox import Inbox, send_key, state_key
from ..runs.overlaps import check_overlap
from ..runs.state_changes import accepted_state
from ..sessions.session import Session
from ..store import Appended, Store


async def invocation(
    typed: Typed,
    session: Session,
    identity: Identity | None,
    *,
    agents: Agents,
    inbox: Inbox,
    store: Store,
    within: float,
) -> Invocation:
    """Prepares a slash command. Raises UnknownCommand, TimedOut, AgentError."""
    agent = agents.make_to_ask(session.info.agent, session.info)
    commands = await commands_of(agent, within=within)

    async def history(limit: int | None) -> list[Message]:
        if limit is None:
            return await session.messages()
        return (await session.page_before(session.head.seq + 1, messages=limit)).messages

    return Invocation(
        typed,
        commands=commands,
        context=CommandContext(session=session.info, identity=identity, history=history),
        builtin=builtin_commands(session, inbox=inbox, agents=agents, store=store),
        session=session,
        timeout=within,
    )


async def check_new_overlap(
    frame: f.Send,
    session: Session,
    identity: Identity | None,
    *,
    agents: Agents,
    agent: str | None,
    within: float,
) -> None:
    """Raises NotSupported if the agent does not allow the overlap of a new message.

    That is the agent which is answering, if one is: the message overlaps its answer, whoever the
    message is for. Raises what :func:`consult` raises, too. Nothing for a message that was accepted
    before and is sent again: that is a duplicate.
    """
    if frame.overlap is None or not agents.names:
        return
    name = (await _answering(session) if agents.several else None) or agent
    making = agents.make_to_ask(name or session.info.agent, session.info)
    try:
        await check_overlap(making, frame.overlap, within=within)
    except AgentwsError:
        by = None if identity is None else identity.id
        if await session.find(send_key(frame, by=by)) is None:
            raise


async def accepting(
    frame: f.State, session: Session, identity: Identity | None, *, agents: Agents, within: float
) -> AcceptsState | Appended:
    """Which changes of its state the session's agent accepts; or the duplicate, for one that was
    made before and is sent again.

    Raises NotSupported if it accepts none, and what :func:`consult` raises.
    """
    making = agents.make_to_ask(session.info.agent, session.info)
    about = "the changes that it accepts"
    try:
        return await consult(making, accepted_state, about=about, within=within)
    except AgentwsError:
        key = state_key(frame, by=None if identity is None else identity.id)
        known = None if key is None else await session.find(key)
        if known is None:
            raise
        return known


async def _answering(session: Session) -> str | None:
    """The agent that is answering, by the log as it is now; ``None`` if none is."""
    await session.catch_up()
    return session.outline.agent if session.outline.run is not None else None
