"""The parent of ``serve --workers``: it keeps the wanted number of processes, and replaces them one after another.

It serves nothing itself, and imports neither Django nor Twisted, so that it is small and has little that could fail.
After each event it compares the workers that there are with those that there should be, and takes the next step. So a
worker that dies during a replacement, and SIGHUP during another one's work, are no cases of their own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from dataclasses import dataclass
from typing import Final

from relay.server.collection import Collection
from relay.server.supervised import Message, Worker

logger = logging.getLogger("relay.server.supervisor")

FAILED: Final = 1  # exit code


@dataclass(frozen=True)
class Times:
    """The parent's times, in seconds.

    Attributes:
        tick: between looks at the workers; each says that it is alive as often.
        start: for a worker, to be ready.
        silent: after which a ready worker counts as frozen, and is killed. The time in which the parent itself was
            stopped does not count.
        brief: a worker that ends sooner was started in vain, so the next one has to wait:
        pause: for this time, and twice as long each further time,
        longest_pause: up to this.
    """

    tick: float = 1.0
    start: float = 120.0
    silent: float = 30.0
    brief: float = 60.0
    pause: float = 1.0
    longest_pause: float = 30.0


class Supervisor:
    """Keeps ``count`` workers on one listening socket.

    Args:
        command: starts a worker, with an option appended.
        listener: the listening socket.
        is_own: is no other program listening on it (as systemd does), when this one ends?
    """

    def __init__(
        self, command: list[str], count: int, listener: socket.socket, *, is_own: bool, times: Times | None = None
    ) -> None:
        self._command = command
        self._count = count
        self._listener = listener
        self._is_own = is_own
        self._times = times or Times()
        self._workers: list[Worker] = []  # oldest first
        self._collection = Collection(self._workers)
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._generation = 0
        self._has_served = False
        self._is_stopping = False
        self._failures = 0
        self._next_start_at = 0.0
        self._exit_code = 0

    async def run(self) -> int:
        """Keep the workers until a signal, then until they have drained; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        ticking = asyncio.create_task(self._tick())
        while self._workers or not self._is_stopping:
            self._changed.clear()
            if not await self._step():
                await self._changed.wait()
        ticking.cancel()
        logger.info("stopped")
        return self._exit_code

    def stop(self) -> None:
        """Let all workers drain and end; called again, more quickly."""
        logger.info("stopping, with %d workers", len(self._workers))
        for worker in self._workers:
            if self._is_stopping or not (self._is_own and worker.is_ready):
                worker.signal(signal.SIGTERM)
            else:
                worker.say("end")
        if not self._is_stopping:
            self._listener.close()  # a client is refused as soon as the last worker refuses it
        self._is_stopping = True
        self._changed.set()

    def reload(self) -> None:
        """Replace all workers, one after another; those that a replacement under way has started, too."""
        logger.info("replacing %d workers: settings and code are read again", self._count)
        self._generation += 1
        self._changed.set()

    async def _step(self) -> bool:
        """Take one step towards the workers that there should be; return whether there was one to take."""
        if self._is_stopping:
            return False
        serving = [worker for worker in self._workers if not worker.is_leaving]
        ready = [worker for worker in serving if worker.is_ready]
        outdated = [worker for worker in serving if worker.generation < self._generation]
        wanted = self._count if self._has_served else 1  # if the first one fails, one message is enough
        if len(serving) < wanted:
            is_due = time.monotonic() >= self._next_start_at
            return is_due and await self._start()
        if outdated and len(ready) > self._count:
            outdated[0].is_leaving = True
            outdated[0].signal(signal.SIGTERM)
            return True
        if outdated and len(ready) == len(self._workers) == self._count:
            return await self._start()
        return False

    async def _start(self) -> bool:
        numbers = {worker.number for worker in self._workers}
        number = next(number for number in range(len(numbers) + 1) if number not in numbers)
        try:
            worker = await Worker.start(self._command, self._listener.fileno(), number, self._generation)
        except OSError as exc:
            logger.error("worker %d cannot be started: %s", number, os.strerror(exc.errno or 0))
            self._pause(is_brief=True)
            if not self._has_served:
                self._is_stopping, self._exit_code = True, FAILED
            return True
        self._workers.append(worker)
        if self._is_stopping:
            worker.signal(signal.SIGTERM)
        task = asyncio.create_task(self._follow(worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _follow(self, worker: Worker) -> None:
        async for message in worker.messages():
            worker.silent_ticks = 0
            self._hear(worker, message)
        self._end(worker, await worker.ended())
        self._changed.set()

    def _hear(self, worker: Worker, message: Message) -> None:
        match message["say"]:
            case "ready":
                worker.is_ready = self._has_served = True
                logger.info("worker %d ready", worker.number, extra=worker.names)
                self._changed.set()
            case "leaving":
                worker.is_leaving = True
                self._changed.set()
            case "drain" if not self._is_stopping:
                self.stop()
            case "collect":
                self._collection.ask(worker, message)
            case "collected":
                self._collection.answer(worker, message)

    def _end(self, worker: Worker, code: int) -> None:
        self._workers.remove(worker)
        self._collection.forget(worker)
        if self._is_stopping:
            if worker.is_ready and code:
                self._exit_code = FAILED
        elif not worker.is_leaving:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            logger.error("worker %d ended: %s", worker.number, how, extra=worker.names)
            self._replace(worker, code)

    def _replace(self, worker: Worker, code: int) -> None:
        """React to the end of a worker that was not asked for it."""
        others = [other for other in self._workers if other.is_ready and not other.is_leaving]
        if not self._has_served:
            self._is_stopping, self._exit_code = True, max(code, FAILED)
        elif not worker.is_ready and len(others) >= self._count:
            logger.error("workers not replaced: the new one does not start, so the others go on as they are")
            for other in self._workers:
                other.generation = self._generation
        else:
            self._pause(is_brief=worker.age_seconds < self._times.brief)

    def _pause(self, *, is_brief: bool) -> None:
        """Let the next start wait, if the last one was in vain."""
        self._failures = self._failures + 1 if is_brief else 0
        seconds = min(self._times.pause * 2 ** (self._failures - 1), self._times.longest_pause) if is_brief else 0.0
        if self._failures > 1:
            logger.warning("workers do not stay up: the next one is started in %g s", seconds)
        self._next_start_at = time.monotonic() + seconds

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._times.tick)
            for worker in self._workers:
                worker.silent_ticks += 1
                limit_seconds = self._times.silent if worker.is_ready else self._times.start
                if worker.silent_ticks * self._times.tick > limit_seconds:
                    logger.error("worker %d killed: it does not respond", worker.number, extra=worker.names)
                    worker.signal(signal.SIGKILL)
            self._changed.set()
