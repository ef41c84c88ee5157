"""A proxy that cuts an answer before a given event of it, once."""

from __future__ import annotations

import re

from tests.faults.proxy import Proxy


class CuttingProxy(Proxy):
    """Cuts the connection on which the event comes; all later ones pass.

    ``mark``: how each event starts on the wire, or a pattern of what it has. ``spares_first``: do events that come with
    the first one pass with it? A client that has none could not resume.
    """

    def __init__(
        self, target_port: int, *, before: int, mark: bytes | re.Pattern[bytes], spares_first: bool = False
    ) -> None:
        super().__init__(target_port)
        self._left: int | None = before
        self._may_cut = not spares_first
        self._mark = mark if isinstance(mark, re.Pattern) else re.compile(re.escape(mark))

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def has_cut(self) -> bool:
        return self._left is None

    def passes(self, line: object, data: bytes, *, is_reply: bool) -> bool:
        if is_reply and self._left is not None and (events := len(self._mark.findall(data))):
            self._left -= events
            if self._left <= 0 and self._may_cut:
                self._left = None
                raise ConnectionResetError
            self._may_cut = True
        return True
