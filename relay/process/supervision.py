"""A worker's link to its parent, where ``serve --workers`` has started it. Other processes have none.

``relay.server.supervised`` is the other side, and lists the messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from relay.tasks import BackgroundTask

logger = logging.getLogger(__name__)

ALIVE_SECONDS: Final = 1.0
COLLECT_SECONDS: Final = 3.0  # for a parent that is busy; it answers within half of that
MAX_MESSAGE_BYTES: Final = 16_777_216  # the metrics of all workers

Report = Callable[[str], Awaitable[str]]  # this process's metrics, for HTTP's Accept


class ParentLink:
    """One end of a socket pair; the parent has the other.

    Args:
        number: of the worker.
        descriptor: of the socket.
    """

    def __init__(self, number: int, descriptor: int) -> None:
        self.number = number
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)  # the parent takes its closing for the end of this process
        self._writer: asyncio.StreamWriter | None = None
        self._answers: dict[int, asyncio.Future[list[str]]] = {}
        self._ids = itertools.count()
        self._hearing = BackgroundTask()
        self._living = BackgroundTask()
        self._reporting: set[asyncio.Task[None]] = set()

    async def open(self, *, report: Report, on_end: Callable[[], None], on_parent_lost: Callable[[], None]) -> None:
        """Listen to the parent.

        Args:
            report: gives this process's metrics.
            on_end: called when all processes are to drain.
            on_parent_lost: called when the parent has died.
        """
        reader, self._writer = await asyncio.open_unix_connection(sock=self._socket, limit=MAX_MESSAGE_BYTES)
        self._hearing.start(self._hear(reader, report, on_end, on_parent_lost), "hear the parent")

    def ready(self) -> None:
        """Tell the parent that this process accepts connections, and from now on that it is alive."""
        self._say("ready")
        self._living.start(self._live(), "tell the parent")

    def leaving(self) -> None:
        """Tell the parent that this process drains."""
        self._say("leaving")

    def drain(self) -> None:
        """Ask the parent to drain all of its workers."""
        self._say("drain")

    async def collect(self, accept: str) -> list[str]:
        """Return the metrics of the other workers, of those that answer in time."""
        number = next(self._ids)
        answer: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._say("collect", id=number, accept=accept)
        try:
            await asyncio.wait([answer], timeout=COLLECT_SECONDS)
            return answer.result() if answer.done() else []
        finally:
            del self._answers[number]

    async def close(self) -> None:
        """Close the link. The parent then waits for the end of this process."""
        await self._living.stop()
        await self._hearing.stop()
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):  # the parent has died
                await self._writer.wait_closed()

    def _say(self, kind: str, **fields: Any) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(msgspec.json.encode({"say": kind, **fields}) + b"\n")

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(ALIVE_SECONDS)
            if self._writer is not None and not self._writer.transport.get_write_buffer_size():
                self._say("alive")  # a parent that is stopped needs to read only one of these

    async def _hear(
        self,
        reader: asyncio.StreamReader,
        report: Report,
        on_end: Callable[[], None],
        on_parent_lost: Callable[[], None],
    ) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                match message := msgspec.json.decode(line):
                    case {"say": "end"}:
                        on_end()
                    case {"say": "collect"}:
                        task = asyncio.create_task(self._answer(report, message["id"], message["accept"]))
                        self._reporting.add(task)
                        task.add_done_callback(self._reporting.discard)
                    case {"say": "collected"} if (answer := self._answers.get(message["id"])) and not answer.done():
                        answer.set_result(message["texts"])
        logger.warning("the parent process has ended: this worker drains")
        on_parent_lost()

    async def _answer(self, report: Report, number: int, accept: str) -> None:
        self._say("collected", id=number, text=await report(accept))


_links: list[ParentLink] = []


def have_parent(link: ParentLink) -> None:
    """Let the whole process know its parent."""
    _links[:] = [link]


def parent() -> ParentLink | None:
    """Return the link to the parent, if this process has one."""
    return _links[0] if _links else None
