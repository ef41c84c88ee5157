"""Answers questions in the process of the gateway."""

from collections.abc import AsyncGenerator
from typing import Any

from relay.agent.function import AgentError, Session

GREETINGS = {"en": "Hello", "de": "Hallo"}


async def answer(message: dict[str, Any], session: Session) -> AsyncGenerator[str | dict[str, Any], None]:
    if not message["content"].strip():
        raise AgentError("Please ask something.")
    past = await session.history()
    yield {"type": "reasoning", "token": f"{len(past)} questions before this one"}
    yield GREETINGS.get(message.get("locale", "en"), "Hello")
    yield f" {session.subject}, the printer is on the second floor."
