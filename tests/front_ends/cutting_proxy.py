"""A proxy that cuts an answer before a given event of it, once."""

from __future__ import annotations

from tests.faults.proxy import Proxy


class CuttingProxy(Proxy):
    """Cuts the connection on which the event comes; all later ones pass.

    ``mark``: how each event starts on the wire.
    """

    def __init__(self, target_port: int, *, before: int, mark: bytes = b"data: {") -> None:
        super().__init__(target_port)
        self._left: int | None = before
        self._mark = mark

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def has_cut(self) -> bool:
        return self._left is None

    def passes(self, line: object, data: bytes, *, is_reply: bool) -> bool:
        if is_reply and self._left is not None:
            self._left -= data.count(self._mark)
            if self._left <= 0:
                self._left = None
                raise ConnectionResetError
        return True
