"""The events of an answer, and the canned answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Any, Final

AgentEvent = dict[str, Any]  # any JSON object: the protocol leaves an agent's own types open

MAX_ECHO_CHARACTERS: Final = 2_000
MAX_COUNT: Final = 10_000
SLOW_FACTOR: Final = 15  # times the usual pause

_COUNT: Final = re.compile(r"count to (\d{1,9})")
_TALE_WANTED: Final = re.compile(r"tell me (?:a|another)(?: short| little)? story\b.*")
_WORD: Final = re.compile(r"\s*\S+\s*|\s+")

HELP: Final = """\
I am the demo agent: no model, only canned answers. Write anything and I repeat it, or try one of these:

- "count to 50" counts, number by number: reload the page meanwhile, or press Stop
- "tell me a short story" thinks for a moment, then tells a story
- "tools" shows reasoning, calls a clock as a tool, and hands over to a colleague (an event of another type)
- "long" tells a long story about this gateway
- "slow" answers with long pauses
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


_TALE: Final = """\
The lighthouse on the last rock had a keeper who counted ships. Every evening she wrote their number into a book, and \
every morning she read it aloud to the gulls. One night, in fog, she heard a ship that her light could not reach, so \
she rang the old bell, once a minute, until dawn. In the morning there was no ship to be seen, and nothing on the \
rocks. She wrote a one into the book, and read it to the gulls.
"""


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


def reasoning(text: str) -> AgentEvent:
    """One piece of the thoughts before an answer."""
    return {"type": "reasoning", "token": text}


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
        pause_seconds = self._word_delay_seconds * (SLOW_FACTOR if command == "slow" else 1)
        for event in _events(message, command):
            await asyncio.sleep(pause_seconds)
            yield event
        yield error("The demo agent failed because it was asked to.") if command == "error" else final()


def _events(message: AgentMessage, command: str) -> Iterator[AgentEvent]:
    """Yield the events of an answer but for its end, one for each word."""
    if command == "tools":
        yield from _tools()
        return
    if _TALE_WANTED.fullmatch(command):
        yield from _thoughts("The user wants a story. I know only one, about a lighthouse.")
    yield from map(token, words(_reply(message, command)))


def _tools() -> Iterator[AgentEvent]:
    call = {"call_id": "demo-1", "tool_name": "clock"}
    yield from _thoughts("The user wants the time. I have no clock, so I call one.")
    yield from map(token, words("Let me look at the clock. "))
    yield {"type": "tool_call", **call, "arguments": {"zone": "UTC"}}
    yield {"type": "tool_result", **call, "result": "half past demo"}
    yield from map(token, words("It is half past demo. Now a colleague takes over. "))
    yield {"type": "agent_switched", "agent": "colleague"}
    yield from map(token, words("Hello, this is the colleague."))


def _thoughts(text: str) -> Iterator[AgentEvent]:
    return map(reasoning, words(text))


def words(text: str) -> list[str]:
    """Split a text into words with the blanks around them, so that joined they give the text."""
    return _WORD.findall(text)


def _reply(message: AgentMessage, command: str) -> str:
    if message.type != "user_message":
        return f"This is the demo agent. I got a message of the type {message.type}."
    if count := _COUNT.fullmatch(command):
        last = min(int(count[1]), MAX_COUNT)
        return " ".join(str(number) for number in range(1, last + 1))
    if _TALE_WANTED.fullmatch(command):
        return _TALE
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
