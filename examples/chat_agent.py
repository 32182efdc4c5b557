"""An agent that is a language model. `uvicorn chat_agent:app`

    OPENAI_API_KEY=...     with pip install "agentws[openai]"
    ANTHROPIC_API_KEY=...  with pip install "agentws[anthropic]"

Without a key, a script answers: so the example runs anywhere.
"""

import os
from collections.abc import Sequence

from starlette.applications import Starlette

from agentws import ChatAgent, mount_agent_gateway
from agentws.llm import LLM
from agentws.testing.fakellm import Reply, ScriptedLLM, Turn

INSTRUCTIONS = "You are brief and friendly. You answer in the language of the question."


def scripted(turns: Sequence[Turn]) -> Reply:
    return Reply(f"A model would answer this: {turns[-1].text}", delay=0.02)


def model() -> LLM:
    """The model whose key is set. The SDKs read their keys and addresses themselves."""
    if os.environ.get("OPENAI_API_KEY"):
        from agentws.integrations.openai import OpenAIChat

        return OpenAIChat(os.environ.get("OPENAI_MODEL", "gpt-5.4-mini"))
    if os.environ.get("ANTHROPIC_API_KEY"):
        from agentws.integrations.anthropic import AnthropicMessages

        return AnthropicMessages(os.environ.get("ANTHROPIC_MODEL", "claude-haiku-5-5"))
    return ScriptedLLM(scripted)


llm = model()
app = Starlette()
gateway = mount_agent_gateway(app, lambda: ChatAgent(llm, instructions=INSTRUCTIONS))
