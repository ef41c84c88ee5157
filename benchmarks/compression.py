"""What compression would save, and what it would cost: zlib on the texts that clients get. Pure; no server is involved.

``python -m benchmarks.compression`` prints the table that docs/performance.md discusses.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.processes import ROOT
from relay.protocol import frames

TOKENS = 500
TURN_ID = "0123456789abcdef0123456789abcdef"
PACKET_BYTES = 52  # of IPv4 and TCP with time stamps, around what is sent at once
FLUSH_TAIL = 4  # bytes of an empty block, which permessage-deflate leaves out (RFC 7692 §7.2.1)
READ_BYTES = 65_536  # of a replay that are compressed at once
ROUNDS = 5


@dataclass(frozen=True)
class Compressor:
    """How zlib is used.

    Attributes:
        window_bits: of the deflate window; negative: without zlib's header, as in permessage-deflate; 31: gzip.
        memory_level: zlib's.
        is_kept: does the window reach back to earlier messages? Then a socket holds the compressor's memory.
    """

    title: str
    window_bits: int
    memory_level: int
    level: int = 6
    is_kept: bool = True

    @property
    def kept_bytes(self) -> int:
        """The memory of a socket, by zlib's own formula (zconf.h)."""
        window = abs(self.window_bits) & 15 or 15
        return (1 << (window + 2)) + (1 << (self.memory_level + 9)) if self.is_kept else 0

    def sizes(self, pieces: Sequence[bytes]) -> Iterator[int]:
        """Compress pieces that are sent one by one; yield how long each is then."""
        compressor = self._new()
        for piece in pieces:
            if not self.is_kept:
                compressor = self._new()
            data = compressor.compress(piece) + compressor.flush(zlib.Z_SYNC_FLUSH)
            yield len(data) - (FLUSH_TAIL if self.window_bits < 0 else 0)

    def _new(self) -> zlib._Compress:
        return zlib.compressobj(self.level, zlib.DEFLATED, self.window_bits, self.memory_level)


SOCKETS = (
    Compressor("permessage-deflate, window kept, 32 kB", -15, 8),
    Compressor("permessage-deflate, window kept, 4 kB", -12, 5),
    Compressor("permessage-deflate, no window kept", -15, 8, is_kept=False),
)
BATCH_FRAMES = 256  # of a replay that ``coalesce=1`` merges into one
GZIP = Compressor("gzip, flushed after each event", 31, 8)
REPLAYS = (Compressor("gzip, level 6", 31, 8, is_kept=False), Compressor("gzip, level 1", 31, 8, 1, is_kept=False))


@dataclass(frozen=True)
class Row:
    """A measurement, per frame.

    Attributes:
        plain_bytes, sent_bytes: without the packets around them.
        saved: the share of all bytes that are not sent, packets included.
        cpu_us: of the compression alone.
        kept_bytes: by each socket.
    """

    what: str
    compressor: str
    plain_bytes: float
    sent_bytes: float
    saved: float
    cpu_us: float
    kept_bytes: int


def prose(tokens: int) -> list[str]:
    """Cut the documentation into tokens: words with the space before them."""
    text = (ROOT / "docs" / "protocol.md").read_text()
    words = re.findall(r" ?[A-Za-z']+[.,;:]?", text)
    return [words[number % len(words)] for number in range(tokens)]


def measure(tokens: int = TOKENS) -> Iterator[Row]:
    """Measure tokens as they are streamed, and a replay of the same answer."""
    log = [frames.token(TURN_ID, text) for text in prose(tokens)]
    for offset, frame in enumerate(log, 2):
        frame.offset = offset
    plain, v1 = [frame.body.encode() for frame in log], [frame.v1.encode() for frame in log]
    events = [b"id: a1b2c3d4:%d\ndata: %b\n\n" % (frame.offset, text) for frame, text in zip(log, v1, strict=True)]
    for what, texts in (("a token, plain", plain), ("a token, gateway.v1", v1)):
        for compressor in SOCKETS:
            yield _row(what, compressor, texts, packets=len(texts), frames_in_all=tokens)
    yield _row("a token, SSE", GZIP, events, packets=tokens, frames_in_all=tokens)
    merged = [
        frames.merged_tokens(log[start : start + BATCH_FRAMES]).encode() for start in range(0, tokens, BATCH_FRAMES)
    ]
    replay = b"".join(events)
    bytes_of_all = sum(map(len, merged))
    yield Row(
        what="a replay, gateway.v1",
        compressor="nothing, with `coalesce=1`",
        plain_bytes=sum(map(len, v1)) / tokens,
        sent_bytes=bytes_of_all / tokens,
        saved=1 - bytes_of_all / sum(map(len, v1)),
        cpu_us=_cpu_seconds(lambda: frames.merged_tokens(log)) / tokens * 1e6,
        kept_bytes=0,
    )
    pieces = [replay[start : start + READ_BYTES] for start in range(0, len(replay), READ_BYTES)]
    for compressor in REPLAYS:
        yield _row("a replay, SSE", compressor, pieces, packets=len(replay) / 1_400, frames_in_all=tokens)


def _row(what: str, compressor: Compressor, texts: list[bytes], *, packets: float, frames_in_all: int) -> Row:
    plain_bytes, sent_bytes = sum(map(len, texts)), sum(compressor.sizes(texts))
    packets_then = packets if packets == len(texts) else sent_bytes / 1_400
    before, after = plain_bytes + PACKET_BYTES * packets, sent_bytes + PACKET_BYTES * packets_then
    return Row(
        what,
        compressor.title,
        plain_bytes / frames_in_all,
        sent_bytes / frames_in_all,
        1 - after / before,
        _cpu_seconds(lambda: list(compressor.sizes(texts))) / frames_in_all * 1e6,
        compressor.kept_bytes,
    )


def _cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of the quickest round."""
    times = []
    for _ in range(ROUNDS):
        started_at = time.process_time()
        work()
        times.append(time.process_time() - started_at)
    return min(times)


def main() -> None:
    """Print the table."""
    print("| what | compressed by | bytes a frame | compressed | saved on the wire | CPU µs a frame | kB a socket |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in measure():
        sizes = f"{row.plain_bytes:.0f} | {row.sent_bytes:.0f} | {row.saved:.0%}"
        print(f"| {row.what} | {row.compressor} | {sizes} | {row.cpu_us:.1f} | {row.kept_bytes / 1000:.0f} |")


if __name__ == "__main__":
    main()
