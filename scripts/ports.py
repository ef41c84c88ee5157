"""Ports of loopback that nobody else is given while one is about to use them."""

from __future__ import annotations

import atexit
import socket
import sys
from collections import deque
from typing import Final

MAX_HELD: Final = 100  # the newest: who asks needs a few at a time

_held: deque[socket.socket] = deque()


def free_port() -> int:
    """Choose a port that nobody else is given, also while its server is down, until this process ends.

    It stays bound here without listening: Linux gives such a port to no other server and to no connection, and
    shares it with a server that asks for it by its number and sets ``SO_REUSEADDR``, as servers do.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port: int = held.getsockname()[1]
    _held.append(held)
    if len(_held) > MAX_HELD or sys.platform != "linux":  # BSD and macOS share it with nobody
        _held.popleft().close()
    return port


@atexit.register
def _let_go() -> None:
    while _held:
        _held.pop().close()
