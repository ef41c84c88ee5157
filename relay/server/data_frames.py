"""The frame of a whole message, for every server that writes to sockets itself."""

from __future__ import annotations

import struct
from typing import Final

TEXT: Final = 1  # opcodes (RFC 6455 §5.2)
BINARY: Final = 2


def data_frame(opcode: int, payload: bytes) -> bytes:
    """Encode a whole message as one frame (RFC 6455 §5.2); a server does not mask."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 0x10000:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload
