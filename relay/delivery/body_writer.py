"""The outgoing side of one streamed response: pieces of its body, which the server takes, and how fast it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

from relay.delivery.client_writer import ClientWriter
from relay.tasks import running_loop

MAX_WAITING_BYTES: Final = 65_536  # above it no more is pushed: frames wait in the log, not here


class BodyWriter(ClientWriter[bytes]):
    """Keeps pieces until the body takes them: all that wait, in one piece.

    One task takes, by ``take``, and one sends, by ``send``. A server with the extension ``SEND_NOW`` is given pieces
    directly while the body waits for them: nothing that was taken is under way then.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._is_taken = False  # a piece, by a server that has not come back yet
        self._has_sender = False
        self._is_finished = False
        self._awaiting_pieces: asyncio.Future[None] | None = None
        self._awaiting_end: asyncio.Future[None] | None = None

    def use(self, send_now: Callable[[list[bytes]], bool] | None) -> None:
        """Give pieces to the server directly, if it has the extension."""
        self._server_send_now = send_now

    # The side of the log.

    @property
    def is_sending(self) -> bool:
        """See ``ClientWriter``."""
        return self._is_taken or bool(self._pieces) or self._has_sender

    def can_send_now(self) -> bool:
        """See ``ClientWriter``: no piece is with the server, and there is room."""
        return not self._is_taken and self._waiting_bytes < MAX_WAITING_BYTES

    def send_now(self, pieces: list[bytes]) -> bool:
        """See ``ClientWriter``."""
        if not self.can_send_now():
            return False
        waiting = self._awaiting_pieces
        is_awaited = waiting is not None and not waiting.done()
        if is_awaited and self._server_send_now is not None and self._server_send_now(pieces):
            self._moved_at = monotonic()
            return True
        for piece in pieces:
            self.put(piece)
        return True

    async def send(self, piece: bytes) -> None:
        """See ``ClientWriter``. (That the client left, the task that takes is told, and ends the one that sends.)"""
        self.put(piece)
        self._has_sender = True
        try:
            await self.drain()
        finally:
            self._has_sender = False

    async def drain(self) -> None:
        """Wait until the server has taken all that was accepted, and comes back for more."""
        while self._is_taken or self._pieces:
            self._awaiting_end = running_loop().create_future()
            await self._awaiting_end

    def put(self, piece: bytes) -> None:
        """Send a piece behind those that wait, whether or not there is room."""
        if not self.is_sending:
            self._moved_at = monotonic()
        self._pieces.append(piece)
        self._waiting_bytes += len(piece)
        _wake(self._awaiting_pieces)

    def finish(self) -> None:
        """End the body behind all that was accepted."""
        self._is_finished = True
        _wake(self._awaiting_pieces)

    # The side of the server.

    async def take(self) -> bytes | None:
        """Take all that waits, as soon as anything does; ``None`` after the end. Says that the last piece was sent."""
        if self._is_taken:
            self._is_taken = False
            self._moved_at = monotonic()
        while not self._pieces:
            if self._is_finished:
                return None
            _wake(self._awaiting_end)
            self._awaiting_pieces = running_loop().create_future()
            await self._awaiting_pieces
        piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._waiting_bytes = 0
        self._is_taken = True
        self._moved_at = monotonic()
        return piece


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
