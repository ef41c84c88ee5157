"""Answers messages that are not for the agent."""

from collections.abc import AsyncGenerator
from typing import Any

from relay.agent.function import AgentError, Session


async def rate(message: dict[str, Any], session: Session) -> AsyncGenerator[str | dict[str, Any], None]:
    if message.get("stars") not in (1, 2, 3, 4, 5):
        raise AgentError("Please give one to five stars.")
    yield {"type": "rated", "stars": message["stars"]}
    yield "Thank you."
