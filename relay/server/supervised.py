"""A worker as its parent sees it: a process of ``serve`` that shares the parent's listening socket, and a link to it.

Parent and worker say one JSON object a line to each other, with its kind in ``say``. ``relay.process.supervision`` is
the worker's side.

========= ==================== ==============================================================================
from      say                  meaning
========= ==================== ==============================================================================
worker    ready                accepts connections
worker    alive                its event loop runs; said about once a second
worker    leaving              drains, and accepts no connections: a successor may be started
worker    drain                an operator wants the whole gateway drained
worker    collect              wants the metrics of all workers: ``id`` is the worker's own, ``accept`` HTTP's
worker    collected            its metrics, in ``text``, for the ``id`` that the parent gave
parent    end                  drain; no other process accepts connections, so continue to refuse them in words
parent    collect, collected   as above, from the other side; ``texts`` holds the answers
========= ==================== ==============================================================================

SIGTERM makes a worker drain, too; it then leaves new connections to the others. So does the end of its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import time
from collections.abc import AsyncIterator
from typing import Any, Final, Self

MAX_MESSAGE_BYTES: Final = 16_777_216  # the metrics of all workers

Message = dict[str, Any]  # a JSON object


class Worker:
    """A process and the link to it.

    Attributes:
        number: names the worker in logs and metrics; no other process has it as long as this one lives.
        generation: how often SIGHUP had been received when it was started.
        silent_ticks: how many of the parent's ticks it has said nothing for.
    """

    def __init__(
        self,
        number: int,
        generation: int,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.number = number
        self.generation = generation
        self.is_ready = False
        self.is_leaving = False
        self.silent_ticks = 0
        self.started_at = time.monotonic()
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, command: list[str], listener: int, number: int, generation: int) -> Self:
        """Start a process with the listening socket and an end of its link.

        It has a session of its own, so that Ctrl-C and a closed terminal signal the parent alone.

        Raises:
            OSError: there can be no further process.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    f"--as-worker={number},{listener},{theirs.fileno()}",
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(listener, theirs.fileno()),
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=MAX_MESSAGE_BYTES)
        return cls(number, generation, process, reader, writer)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def names(self) -> dict[str, int]:
        """The fields of log lines about it."""
        return {"worker": self.number, "pid": self.pid}

    @property
    def age_seconds(self) -> float:
        """The time since it was started."""
        return time.monotonic() - self.started_at

    async def messages(self) -> AsyncIterator[Message]:
        """Yield what the worker says, until its end of the link is closed."""
        with contextlib.suppress(OSError, ValueError):  # the end of its process, or a line beyond any bound
            while line := await self._reader.readline():
                yield json.loads(line)

    def say(self, kind: str, **fields: Any) -> None:
        """Send a message. One that a frozen worker does not read waits here."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps({"say": kind, **fields}).encode() + b"\n")

    def signal(self, number: signal.Signals) -> None:
        """Signal the process, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for the process' end, and give its exit code; that of a process that a signal ended is negative."""
        code = await self._process.wait()
        self._writer.close()
        return code
