"""Orders of operators to every process of a deployment.

A session's turns and log are in reach of any process, by a call of the session layer. Its connections, and the
processes themselves, are not: orders reach those. A process whose connection to the store is broken misses an order
without a trace; the operator repeats it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from relay.exceptions import Kicked, RelayError
from relay.layers.base import Order, SessionLayer
from relay.process.drain import Connection
from relay.process.roll_call import RollCall
from relay.process.supervision import parent
from relay.protocol import frames
from relay.tasks import BackgroundTask, cancel_and_wait
from relay.transcripts.writer import Transcripts

logger = logging.getLogger(__name__)


class Control:
    """Sends orders to all processes, and carries them out in this one.

    ``wake`` runs the turns of a session that another process has handed over.
    """

    def __init__(
        self,
        layer: SessionLayer,
        connections: Collection[Connection],
        transcripts: Transcripts,
        wake: Callable[[str], None],
    ) -> None:
        self._wake = wake
        self._layer = layer
        self._connections = connections
        self._transcripts = transcripts
        self.roll_call = RollCall(layer)
        self._listening = BackgroundTask()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_listening = asyncio.Event()
        self._is_stopped = False

    # Orders. Each raises StoreUnavailable where they cannot be sent.

    async def disconnect(self, session_id: str) -> None:
        """Disconnect a session's viewers, and tell them not to reconnect."""
        await self._send(order="disconnect", session_id=session_id)

    async def notify(self, content: str, session_id: str | None = None) -> None:
        """Send a notice to every ``gateway.v1`` client, or to those of one session."""
        await self._send(order="tell", content=content, session_id=session_id)

    async def drain(self) -> None:
        """Drain and end every process, as SIGTERM does."""
        await self._send(order="drain")

    async def delete(self, session_id: str) -> bool:
        """Erase a session with its transcripts. Returns whether there was anything.

        Raises:
            StoreUnavailable: not all of it could be erased; do it again.
        """
        was_live = await self._layer.delete(session_id)
        erased = await self._transcripts.erase(session_id)
        if self._layer.survives_process and self._transcripts.is_on:
            await self._send(order="erase", session_id=session_id)  # those that other processes have not written yet
        return was_live or erased > 0

    async def _send(self, **order: str | None) -> None:
        await self._layer.publish_order(order)

    # Life.

    def start(self) -> None:
        """Start to listen; an outage of the store does not hold up the start."""
        self._listening.start(self._listen(), "listen for orders")

    async def stop(self) -> None:
        """Follow no further order, and end the work of those that were followed."""
        self._is_stopped = True
        await self._listening.stop()
        await cancel_and_wait(*self._tasks)

    async def listening(self) -> None:
        """Wait until orders reach this process."""
        await self._is_listening.wait()

    async def _listen(self) -> None:
        await self._layer.listen_for_orders(self._follow)
        self._is_listening.set()

    def _do(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(_log_errors(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Orders, carried out here.

    def _follow(self, order: Order) -> None:
        if not self._is_stopped:
            self._carry_out(order)

    def _carry_out(self, order: Order) -> None:
        match order:
            case {"order": "disconnect", "session_id": str(session_id)}:
                for connection in self._watching(session_id):
                    self._do(connection.disconnect(Kicked()))
            case {"order": "tell", "content": str(content)}:
                text = frames.operator_notice(content)
                for connection in self._watching(order.get("session_id")):
                    self._do(connection.notify(text))
            case {"order": "erase", "session_id": str(session_id)}:
                self._do(self._transcripts.erase(session_id))
            case {"order": "wake", "session_id": str(session_id)}:
                self._wake(session_id)
            case {"order": "report"}:
                self._do(self.roll_call.answer())
            case {"order": "reported"}:
                self.roll_call.hear(order)
            case {"order": "drain"}:
                logger.info("drain requested by an operator")
                end_process()
            case _:
                logger.info("operator order ignored: unknown kind")

    def _watching(self, session_id: str | None) -> list[Connection]:
        return [
            connection for connection in self._connections if session_id is None or connection.session_id == session_id
        ]


def end_process() -> None:
    """Drain and end this process, as a process manager would; a worker with the others of its parent."""
    link = parent()
    if link is not None:
        link.drain()
    else:
        os.kill(os.getpid(), signal.SIGTERM)


async def _log_errors(work: Coroutine[Any, Any, object]) -> None:
    """Do something for one connection of many; its failure does not concern the others."""
    try:
        await work
    except RelayError:
        pass  # it was logged where it happened
    except Exception:
        logger.exception("operator order failed")
