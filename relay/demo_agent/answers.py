"""The events of an answer, and the canned answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final

AgentEvent = dict[str, Any]  # any JSON object: the protocol leaves an agent's own types open

MAX_ECHO_CHARACTERS: Final = 2_000
MAX_COUNT: Final = 10_000
SLOW_FACTOR: Final = 15  # times the usual pause

_COUNT: Final = re.compile(r"count to (\d{1,9})")
_WORD: Final = re.compile(r"\s*\S+\s*|\s+")

HELP: Final = """\
I am the demo agent: no model, only canned words. Say anything and I repeat it, or try one of these:

- "count to 50" counts, number by number: reload the page meanwhile, or press Stop
- "long" tells a long story
- "slow" answers with long pauses
- "tools" sends events of other types between the words
- "error" ends the answer with an error
- "help" shows this list
"""

_STORY: Final = """\
A browser asks a question, and the gateway writes it down before it does anything else. Then the gateway asks the \
agent, and the agent answers one word at a time. Each word is written down too, under the next number, and only then \
shown. So when a page is reloaded in the middle of an answer, nothing is lost: the page says which number it saw \
last, and gets every word after it. When two tabs look at the same conversation, both see the same words under the \
same numbers. When you press Stop, the agent hears of it at once and keeps the rest of the story to itself.
"""
_STORY_CHAPTERS: Final = 8


@dataclass(frozen=True)
class AgentMessage:
    """One message to the agent.

    Attributes:
        session_id: the conversation that it belongs to.
        type: its kind, mostly ``user_message``.
        content: its text; ``""`` if it has none, which other kinds may lack.
        turn_id: the gateway's ``Idempotency-Key``; ``""`` if it sent none.
    """

    session_id: str
    type: str
    content: str
    turn_id: str = ""


def token(text: str) -> AgentEvent:
    """One piece of the answer."""
    return {"type": "assistant_message", "token": text, "is_final": False}


def final(finish_reason: str = "stop") -> AgentEvent:
    """The end of the answer."""
    return {"type": "assistant_message", "token": "", "is_final": True, "finish_reason": finish_reason}


def error(sentence: str) -> AgentEvent:
    """The end of an answer that failed."""
    return {"type": "error", "content": sentence}


class CannedAnswers:
    """Answers without a model, at the pace of one."""

    def __init__(self, word_delay_seconds: float) -> None:
        self._word_delay_seconds = word_delay_seconds

    async def answer(self, message: AgentMessage) -> AsyncGenerator[AgentEvent, None]:
        """Answer a message; ``HELP`` lists the commands."""
        command = message.content.strip().strip("\"'.!").lower()
        yield token("")  # as real agents start
        if command == "tools":
            async for event in self._tools():
                yield event
        else:
            pause_seconds = self._word_delay_seconds * (SLOW_FACTOR if command == "slow" else 1)
            for word in words(_reply(message, command)):
                await asyncio.sleep(pause_seconds)
                yield token(word)
        yield error("The demo agent failed because it was asked to.") if command == "error" else final()

    async def _tools(self) -> AsyncGenerator[AgentEvent, None]:
        steps: list[str | AgentEvent] = [
            "Let me look at the clock. ",
            {"type": "tool_call", "tool_call_id": "demo-1", "name": "clock", "arguments": {"zone": "UTC"}},
            {"type": "tool_result", "tool_call_id": "demo-1", "name": "clock", "result": "half past demo"},
            "It is half past demo. Now a colleague takes over. ",
            {"type": "agent_switched", "agent": "colleague"},
            "Hello, this is the colleague: those were three events of other types.",
        ]
        for step in steps:
            if isinstance(step, str):
                for word in words(step):
                    await asyncio.sleep(self._word_delay_seconds)
                    yield token(word)
            else:
                await asyncio.sleep(self._word_delay_seconds)
                yield step


def words(text: str) -> list[str]:
    """Split a text into words with the blanks around them, so that joined they give the text."""
    return _WORD.findall(text)


def _reply(message: AgentMessage, command: str) -> str:
    if message.type != "user_message":
        return f"This is the demo agent. I got a message of the type {message.type}."
    if count := _COUNT.fullmatch(command):
        last = min(int(count[1]), MAX_COUNT)
        return " ".join(str(number) for number in range(1, last + 1))
    match command:
        case "help":
            return HELP
        case "long":
            return "\n".join(f"Chapter {number}. {_STORY}" for number in range(1, _STORY_CHAPTERS + 1))
        case "slow":
            return "This is the demo agent, and it takes its time."
        case "error":
            return "This answer will not end well: "
    said = message.content[:MAX_ECHO_CHARACTERS]
    cut = " (and so on)" if len(message.content) > MAX_ECHO_CHARACTERS else ""
    return f'This is the demo agent, not a model. You said: "{said}"{cut}. Say "help" to see what I can do.'
