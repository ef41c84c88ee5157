"""The parent's part in a scrape: it asks all other workers for their metrics, and hands the answers to the asker."""

from __future__ import annotations

import asyncio
from collections.abc import Collection as Workers
from dataclasses import dataclass, field
from typing import Final

from relay.server.supervised import Message, Worker

LIMIT_SECONDS: Final = 1.5  # above what a check of /ready may take; a frozen worker's metrics are left out


@dataclass
class _Round:
    """One worker's question: the workers that have not answered yet, and the answers of the others."""

    asker: Worker
    id: object
    waiting: set[Worker]
    ending: asyncio.TimerHandle
    texts: list[str] = field(default_factory=list)


class Collection:
    """Collects the metrics of the workers."""

    def __init__(self, workers: Workers[Worker]) -> None:
        self._workers = workers
        self._rounds: dict[int, _Round] = {}
        self._count = 0

    def ask(self, asker: Worker, message: Message) -> None:
        """Ask all other ready workers on behalf of one."""
        others = {worker for worker in self._workers if worker.is_ready and worker is not asker}
        self._count += 1
        number = self._count
        ending = asyncio.get_running_loop().call_later(LIMIT_SECONDS, self._finish, number)
        self._rounds[number] = _Round(asker, message["id"], others, ending)
        for worker in others:
            worker.say("collect", id=number, accept=message["accept"])
        self._finish_if_complete(number)

    def answer(self, worker: Worker, message: Message) -> None:
        """Take a worker's answer; one that comes too late is dropped."""
        number = message["id"]
        if number in self._rounds:
            self._rounds[number].texts.append(message["text"])
            self._rounds[number].waiting.discard(worker)
            self._finish_if_complete(number)

    def forget(self, worker: Worker) -> None:
        """Wait no longer for a worker that has ended."""
        for number in list(self._rounds):
            self._rounds[number].waiting.discard(worker)
            self._finish_if_complete(number)

    def _finish_if_complete(self, number: int) -> None:
        if not self._rounds[number].waiting:
            self._finish(number)

    def _finish(self, number: int) -> None:
        round_ = self._rounds.pop(number)
        round_.ending.cancel()
        round_.asker.say("collected", id=round_.id, texts=round_.texts)
