"""A model is given the files of a message."""

from __future__ import annotations

from base64 import b64encode

from agentws import ChatAgent
from agentws.integrations.anthropic import AnthropicMessages
from agentws.testing.fakellm import FakeLLM, Reply
from tests.agents.test_chat import adapter

from .calling import PNG, conversation, put, send, served


async def test_a_model_is_given_the_files_of_a_message_and_of_earlier_ones() -> None:
    async with FakeLLM([Reply("A picture."), Reply("Still there.")]) as fake:
        async with adapter("anthropic", fake) as llm:
            assert isinstance(llm, AnthropicMessages)
            async with served(lambda: ChatAgent(llm)) as (_, http):
                image = await put(http, PNG, name="cat.png")
                text = await put(http, b"a,b", name="table.txt")
                await send(http, attachments=[image["id"], text["id"]])
                assert (await conversation(http))[-1]["content"] == "A picture."
                await send(http, id="msg-2")
                assert (await conversation(http))[-1]["content"] == "Still there."
    source = {"type": "base64", "media_type": "image/png", "data": b64encode(PNG).decode()}
    for body in fake.requests:
        said, shown, document = body["messages"][0]["content"]
        assert said["text"] == "Look"
        assert shown == {"type": "image", "source": source}
        assert (document["title"], document["source"]["data"]) == ("table.txt", "a,b")
