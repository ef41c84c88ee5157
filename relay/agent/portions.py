"""How many bytes of an answer are decoded in one call, while everything else on the event loop waits. Pure.

Bytes alone are no measure: 16 KiB are some 200 tokens, or 8,000 empty lines. Each line end may be a chunk, a field, or
an event, so where they are dense a portion is small.
"""

from __future__ import annotations

from typing import Final

PORTION_BYTES: Final = 16_384
DENSE_PORTION_BYTES: Final = 1_024
DENSE_LINE_BYTES: Final = 8  # on average; the lines of tokens have some twenty, with chunks' heads and line ends


def portion_size(data: bytes | bytearray) -> int:
    """Return how many of the first bytes to decode in one call."""
    if len(data) <= DENSE_PORTION_BYTES:
        return len(data)
    size = min(len(data), PORTION_BYTES)
    lines = data.count(b"\n", 0, size) + data.count(b"\r", 0, size)
    return DENSE_PORTION_BYTES if lines * DENSE_LINE_BYTES > size else size
