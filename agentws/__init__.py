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

from .agents.agent import Agent, RunContext
from .agents.chat import ChatAgent
from .agents.commands import Command, CommandContext
from .agents.factory import AgentFactory
from .agents.llm import (
    LLM,
    LLMCutOff,
    LLMEmpty,
    LLMError,
    LLMRateLimited,
    LLMRefused,
    LLMUnavailable,
)
from .agents.output import Output
from .agents.tools import Tool, tool
from .auth import BearerKeys, Identity
from .backends.local import LocalBus
from .backends.memory import MemoryStore
from .backends.sqlite import SQLiteStore
from .bus import Bus
from .errors import (
    AgentError,
    AgentwsError,
    AskDeclined,
    AskExpired,
    Forbidden,
    NotFound,
    ToolArgumentsInvalid,
    ToolDenied,
    ToolError,
    Unauthenticated,
)
from .gateway.gateway import AgentGateway
from .gateway.handle import SessionHandle
from .limits import Limits
from .mount import mount_agent_gateway
from .sessions.session import Session
from .store import SessionInfo, Store

__all__ = [
    "LLM",
    "Agent",
    "AgentError",
    "AgentFactory",
    "AgentGateway",
    "AgentwsError",
    "AskDeclined",
    "AskExpired",
    "BearerKeys",
    "Bus",
    "ChatAgent",
    "Command",
    "CommandContext",
    "Forbidden",
    "Identity",
    "LLMCutOff",
    "LLMEmpty",
    "LLMError",
    "LLMRateLimited",
    "LLMRefused",
    "LLMUnavailable",
    "Limits",
    "LocalBus",
    "MemoryStore",
    "NotFound",
    "Output",
    "RunContext",
    "SQLiteStore",
    "Session",
    "SessionHandle",
    "SessionInfo",
    "Store",
    "Tool",
    "ToolArgumentsInvalid",
    "ToolDenied",
    "ToolError",
    "Unauthenticated",
    "mount_agent_gateway",
    "tool",
]
