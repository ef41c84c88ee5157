"""A TCP proxy before the store that swallows what the store says on lines that subscribe: a wedged announcement."""

from __future__ import annotations

import asyncio

from tests.faults.proxy import Proxy


class DeafProxy(Proxy):
    """Passes everything on while ``is_deaf`` is false."""

    is_deaf = False

    def new_line(self) -> asyncio.Event:
        return asyncio.Event()  # does it subscribe?

    def passes(self, line: asyncio.Event, data: bytes, *, is_reply: bool) -> bool:
        if not is_reply and b"SUBSCRIBE" in data:
            line.set()
        return not (is_reply and self.is_deaf and line.is_set())
