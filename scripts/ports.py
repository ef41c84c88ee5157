"""Free ports of loopback, reserved until their server starts."""

from __future__ import annotations

import atexit
import socket
import sys
from collections import deque
from typing import Final

MAX_HELD: Final = 100  # the newest: a caller needs a few at a time

_held: deque[socket.socket] = deque()


def free_port() -> int:
    """Reserve a free port until this process ends, also while its server is down.

    It stays bound here without listening: Linux assigns such a port to no other server or connection, and
    shares it with a server that requests it by number and sets ``SO_REUSEADDR``, as servers do.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port: int = held.getsockname()[1]
    _held.append(held)
    if len(_held) > MAX_HELD or sys.platform != "linux":  # BSD and macOS do not share it
        _held.popleft().close()
    return port


@atexit.register
def _let_go() -> None:
    while _held:
        _held.pop().close()
