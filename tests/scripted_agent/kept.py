"""Answers of the scripts that are named ``kept``: they go on without a reader, are read on, and stopped."""

import asyncio
import re
from collections.abc import Iterable

from tests.scripted_agent.response import Response
from tests.scripted_agent.steps import Final, Send, Step, Token, Wait, event_bytes, final_value, token_value

KEPT = re.compile(r"script:kept\b")
HEAD = {"X-Agent-Resume": "1"}


class KeptRun:
    """One answer: its events, each with its number."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self.events: list[bytes] = []
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(self._play(steps))

    async def _play(self, steps: Iterable[Step]) -> None:
        try:
            for step in steps:
                match step:
                    case Wait(seconds) if isinstance(seconds, float):
                        await asyncio.sleep(seconds)
                    case Token(text):
                        self._add(event_bytes(token_value(text)))
                    case Final(finish_reason, token):
                        self._add(event_bytes(final_value(finish_reason, token)))
        finally:
            self._wake()

    def _add(self, event: bytes) -> None:
        self.events.append(b"id: %d\n%b" % (len(self.events) + 1, event))
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def send(self, response: Response, number: int) -> None:
        """Send the events behind a number, to the end of the run."""
        while True:
            changed = self._changed
            for event in self.events[number:]:
                await response.play(Send(event))
                number += 1
            if self.task.done() and number == len(self.events):
                return
            if number == len(self.events):
                waiting = asyncio.ensure_future(changed.wait())
                await asyncio.wait([waiting, self.task], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
