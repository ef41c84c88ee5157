"""Orders of operators to every process, over a group of the channel layer.

What is about one session's turns or log is a call of the session layer. What is about connections, or about the
processes themselves, reaches them here. A group may lose a message without a word: an order that matters is repeated
by whoever gave it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Collection
from typing import Any, Final

from redis.exceptions import RedisError

from relay.exceptions import Kicked, RelayError, StoreUnavailable
from relay.layers.base import SessionLayer
from relay.layers.redis.failures import reason
from relay.observability.outage_log import OutageLog
from relay.process.drain import Connection
from relay.protocol import frames
from relay.transcripts.writer import Transcripts

logger = logging.getLogger(__name__)

GROUP: Final = "relay.control"
REJOIN_SECONDS: Final = 3_600.0  # a group forgets its members after a day
PAUSE_SECONDS: Final = 1.0  # before listening again after an outage


class Control:
    """Gives orders to all processes, and follows them in this one."""

    def __init__(self, layer: SessionLayer, connections: Collection[Connection], transcripts: Transcripts) -> None:
        self._layer = layer
        self._connections = connections
        self._transcripts = transcripts
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_listening = asyncio.Event()
        self._outages = OutageLog(logger)

    # Orders. Each raises StoreUnavailable where they cannot be sent.

    async def disconnect(self, session_id: str) -> None:
        """Send a session's viewers away, for good."""
        await self._send(order="disconnect", session_id=session_id)

    async def notify(self, content: str, session_id: str | None = None) -> None:
        """Show words to every ``gateway.v1`` client, or to those of one session."""
        await self._send(order="tell", content=content, session_id=session_id)

    async def drain(self) -> None:
        """End every process in order, as SIGTERM does."""
        await self._send(order="drain")

    async def delete(self, session_id: str) -> bool:
        """Erase a session with its transcripts. Returns whether there was anything.

        Raises:
            StoreUnavailable: not all of it could be erased; do it again.
        """
        was_live = await self._layer.delete(session_id)
        erased = await self._transcripts.erase(session_id)
        if self._layer.survives_process and self._transcripts.is_on:
            await self._send(order="erase", session_id=session_id)  # what waits to be written elsewhere
        return was_live or erased > 0

    async def _send(self, **order: Any) -> None:  # Any: a channel-layer dict
        try:
            await self._layer.group_send(GROUP, {"type": "relay.control", **order})
        except (RedisError, OSError) as exc:
            raise StoreUnavailable from exc

    # Life.

    def start(self) -> None:
        """Begin to listen; an outage of the store does not hold up the start."""
        self._do(self._listen_for_ever())

    async def stop(self) -> None:
        """Listen no longer."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def listening(self) -> None:
        """Wait until orders reach this process."""
        await self._is_listening.wait()

    def _do(self, work: Any) -> None:  # Any: a coroutine, whatever it yields
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen_for_ever(self) -> None:
        while True:
            channel = await self._layer.new_channel("control")
            joining = asyncio.create_task(self._join_for_ever(channel))
            try:
                while True:
                    self._follow(await self._layer.receive(channel))
            except Exception as exc:
                logger.warning("operator orders do not arrive: %s", type(exc).__name__)
            finally:
                self._is_listening.clear()
                joining.cancel()
                await asyncio.gather(joining, return_exceptions=True)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _join_for_ever(self, channel: str) -> None:
        while True:
            try:
                await self._layer.group_add(GROUP, channel)
            except (RedisError, OSError) as exc:
                self._outages.failed("operator orders do not arrive: %s", reason(exc))
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self._is_listening.set()
                await asyncio.sleep(REJOIN_SECONDS)

    # What an order means here.

    def _follow(self, message: dict[str, Any]) -> None:
        match message:
            case {"order": "disconnect", "session_id": str(session_id)}:
                for connection in self._watching(session_id):
                    self._do(_log_errors(connection.disconnect(Kicked())))
            case {"order": "tell", "content": str(content)}:
                text = frames.operator_notice(content)
                for connection in self._watching(message.get("session_id")):
                    self._do(_log_errors(connection.notify(text)))
            case {"order": "erase", "session_id": str(session_id)}:
                self._do(_log_errors(self._transcripts.erase(session_id)))
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
    """End this process in order, as a process manager would."""
    os.kill(os.getpid(), signal.SIGTERM)


async def _log_errors(work: Any) -> None:  # Any: a coroutine of whatever result
    """Do something for one of many; what goes wrong there is not the others' business."""
    try:
        await work
    except RelayError:
        pass  # it was logged where it happened
    except Exception:
        logger.exception("operator order failed")
