"""A TCP gate between one worker and the store: open, shut (nothing passes, nobody is told), or broken off."""

from __future__ import annotations

import asyncio
import ssl

from tests.faults.proxy import Proxy


class Gate(Proxy):
    """Lines that were shut stay dead; ``open`` lets new ones through. ``has_lost`` tells when something was lost."""

    def __init__(
        self, target_port: int, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        super().__init__(target_port, tls=tls, host=host, port=port)
        self._is_open = True
        self.has_lost = asyncio.Event()

    def open(self) -> None:
        self._is_open = True

    def shut(self) -> None:
        """Drop what is sent from now on, as a broken network does."""
        self._is_open = False

    def new_line(self) -> set[bool]:
        return set()  # the directions that are dead

    def passes(self, line: set[bool], data: bytes, *, is_reply: bool) -> bool:
        if not self._is_open:
            line.add(is_reply)
            self.has_lost.set()
        return is_reply not in line
