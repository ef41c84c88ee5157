"""A TCP proxy before the store that cuts a line when the reply comes: the command was done, nobody heard of it."""

from __future__ import annotations

from tests.faults.proxy import Proxy


class CuttingProxy(Proxy):
    """Passes everything on; ``cut_replies`` cuts the next lines on which a script replies."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self._cuts = 0
        self.cut = 0

    def cut_replies(self, count: int) -> None:
        self._cuts = count

    def new_line(self) -> dict[str, bool]:
        return {"was_asked": False}  # was a script called since the last reply?

    def passes(self, line: dict[str, bool], data: bytes, *, is_reply: bool) -> bool:
        if is_reply and line["was_asked"] and self._cuts:
            self._cuts -= 1
            self.cut += 1
            raise ConnectionResetError
        line["was_asked"] = not is_reply and b"EVALSHA" in data
        return True
