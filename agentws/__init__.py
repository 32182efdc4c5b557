"""Put an AI agent in front of people: behind a WebSocket, in the ASGI service you already have.

from starlette.applications import Starlette
from agentws import Agent, RunContext, mount_agent_gateway

class Echo(Agent):
    async def run(self, ctx: RunContext):
        for word in ctx.text.split():
            yield word + " "

app = Starlette()
gateway = mount_agent_gateway(app, Echo)
"""

from __future__ import annotations

from .agents.agent import Agent
from .agents.chat import ChatAgent
from .agents.commands import Command, CommandContext
from .agents.context import SessionContext
from .agents.factory import AgentFactory
from .agents.files import Attachment
from .agents.output import Output
from .agents.routing import ModelRouter, Router
from .agents.run_context import RunContext
from .agents.sharing import StateChange
from .agents.tools import tool
from .auth import BearerKeys, Identity
from .backends.disk import DiskFileStore
from .backends.local import LocalBus
from .backends.memory import MemoryStore
from .backends.memory_files import MemoryFileStore
from .backends.sqlite import SQLiteStore
from .errors import AgentError, AgentwsError
from .gateway.gateway import AgentGateway
from .gateway.handle import SessionHandle
from .gateway.topics import TopicHandle
from .limits import Limits
from .mount import mount_agent_gateway
from .store import SessionInfo

__all__ = [
    "Agent",
    "AgentError",
    "AgentFactory",
    "AgentGateway",
    "AgentwsError",
    "Attachment",
    "BearerKeys",
    "ChatAgent",
    "Command",
    "CommandContext",
    "DiskFileStore",
    "Identity",
    "Limits",
    "LocalBus",
    "MemoryFileStore",
    "MemoryStore",
    "ModelRouter",
    "Output",
    "Router",
    "RunContext",
    "SQLiteStore",
    "SessionContext",
    "SessionHandle",
    "SessionInfo",
    "StateChange",
    "TopicHandle",
    "mount_agent_gateway",
    "tool",
]
