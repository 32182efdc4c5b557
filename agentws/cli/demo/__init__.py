"""The agents of ``agentws demo``: they show what the gateway can do, with or without a key."""

from .agent import SHOWS, Demo, demo_agents
from .model import llm_from, offline_llm
from .texts import INTRO

__all__ = ["INTRO", "SHOWS", "Demo", "demo_agents", "llm_from", "offline_llm"]
