"""Random bytes for whatever reads foreign ones, for as long as it is told: ``make fuzz SECONDS=600 SEED=1``.

No part of the tests: each run finds something else. Parsers may only raise what they document, take time in proportion
to their input, and give the same result wherever the input is cut. A gateway may log no traceback and serves on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from relay.addresses.http import check_http_address, how_to_escape
from relay.addresses.store import check_store_address
from relay.agent.http_body import BodyBroken, ChunkedBody
from relay.agent.protocols.agent import OwnAgent
from relay.agent.protocols.agui import AgUi
from relay.agent.protocols.aisdk import AiSdk
from relay.agent.protocols.base import AgentProtocol
from relay.agent.protocols.openai import OpenAI
from relay.agent.redaction import MAX_ERROR_CHARACTERS, redact
from relay.conf.env_file import EnvFileInvalid, read_env_file
from relay.database.connection import check_database_address
from relay.exceptions import UpstreamEof, UpstreamProtocol
from relay.layers.values import Turn
from relay.protocol.event_stream import EventStreamDecoder, EventTooLarge
from relay.protocol.frames import Frame
from relay.server.request_head import RequestRefused, read_head, read_websocket_request
from tests import processes

MAX_EVENT_BYTES: Final = 100_000
REPEATS: Final = 300  # of a piece, and ten times as many, to compare the times
MAX_RATIO: Final = 35  # ten if the time is linear, a hundred if it is quadratic
LEAST_SECONDS: Final = 0.02  # what takes less is not measured well, and harms nobody
ANSWER_SECONDS: Final = 5.0

SECRET: Final = "hunter2secret"
WORDS: Final = [
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"=", b"/", b"//", b"?", b"#", b"@", b"%", b"%2F"),
    *(b"'", b'"', b"\\", b"[", b"]", b"{", b"}", b"\xff", b"\xc4\x85", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"0", b"1"),
    *(b"ffffffffffffffff", b"99999999999999999999", b"NaN", b"1e999", b"-1", b"null", b"\\ud800", b"export ", b"${A}"),
    *(b"chunked", b"identity", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: a\r\n"),
    *(b"data: ", b"event: error\n", b"id: ", b"retry: ", b"[DONE]", b'"is_final":true', b'"error":{}'),
    *(b"\x81\x80\0\0\0\0", b"\x01\x80\0\0\0\0", b"\x89\x80\0\0\0\0", b"\x88\x82\0\0\0\0\x03\xe8", b"\x81\xfe\xff\xff"),
    *(b"token=", b"bearer ", b"http://", b"eyJ", b"1.1.1.1", b"\tat a(", b"a" * 300, b"9" * 300, b"[" * 300),
]
HANDSHAKE: Final = (
    b"GET /ws/fuzz/?epoch=a&offset=1 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
KEY_LINE: Final = b"X-Internal-Auth: " + processes.KEY.encode() + b"\r\n"
FRAMES: Final = [
    b'\x81\x91\0\0\0\0{"type":"cancel"}',
    b'\x01\x84\0\0\0\0{"ty\x89\x81\0\0\0\0p\x80\x8d\0\0\0\0pe":"cancel"}',
    b"\x88\x82\0\0\0\0\x03\xe8",
]
BODY: Final = b'5;a=b\r\n{"con\r\nb\r\ntent":"hi"}\r\n0\r\nX: y\r\n\r\n'


class Target(NamedTuple):
    """What is fed: with pieces of which examples, and how; it raises what is not as it should be."""

    name: str
    examples: list[bytes]
    feed: Callable[[bytes], object]
    is_live: bool = False


def feed_head(data: bytes) -> None:
    """A request line and header fields."""
    first, *lines = data.split(b"\r\n")
    method, _, rest = first.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    fields = [(name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines if line)]
    with contextlib.suppress(RequestRefused):
        read_websocket_request(read_head(method, target, version, fields))


def feed_body(data: bytes) -> None:
    """An agent's chunks: wherever they are cut, the content is the same."""

    def content(pieces: list[bytes]) -> tuple[bytes, bool]:
        body, taken = ChunkedBody(), b""
        for piece in pieces:
            try:
                taken += body.feed(piece)
            except BodyBroken as exc:
                return taken + exc.content, True
        return taken, False

    assert content([data]) == content(_cut(data)), "the content depends on where the body is cut"


def events_feeder(protocol: AgentProtocol) -> Callable[[bytes], None]:
    """An agent's answer: wherever it is cut, the frames are the same, and what follows an error is no success."""
    turn = Turn(session_id="s", turn_id="t", lease_id="l", message={})

    def made(pieces: list[bytes]) -> list[Frame | str]:
        decoder = EventStreamDecoder(MAX_EVENT_BYTES)
        events = protocol.reader(turn, max_turn_bytes=10 * MAX_EVENT_BYTES, redact=redact)
        frames: list[Frame | str] = []
        try:
            for piece in pieces:
                frames += events.frames(decoder.feed(piece))
            if not events.is_over:
                frames.extend(events.end_of_body(is_within_event=decoder.is_within_event))
        except EventTooLarge as exc:
            frames += events.frames(exc.events)
            if not events.is_over:
                frames.append("too large")
        except (UpstreamEof, UpstreamProtocol) as exc:
            frames.append(type(exc).__name__)
        return frames

    def feed(data: bytes) -> None:
        whole = made([data])
        ends = [at for at, frame in enumerate(whole) if isinstance(frame, str) or frame.is_terminal]
        assert ends == [len(whole) - 1], "the answer has not exactly one end"
        assert whole == made(_cut(data)), "the frames depend on where the answer is cut"

    return feed


def recorded(protocol: str) -> list[bytes]:
    """The answers in a file of vectors."""
    vectors = json.loads((Path(__file__).parent / "unit" / "agent" / f"{protocol}_events.json").read_text())
    return [vector["events"].encode() for vector in vectors if vector["events"]]


def feed_env(data: bytes) -> None:
    """A file of settings: a problem never repeats what is in it."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        problem = ""
        try:
            read_env_file(Path(file.name))
        except EnvFileInvalid as exc:
            problem = str(exc)
        assert SECRET not in problem, "a secret is shown"


def feed_address(data: bytes) -> None:
    """An address of each kind: refused with ``ValueError``, which names nothing, or read."""
    text = data.decode("utf-8", "replace").replace("\0", "")
    how_to_escape(text)
    for read in (check_store_address, check_database_address, check_http_address):
        with contextlib.suppress(ValueError):
            read(text)


def feed_error(data: bytes) -> None:
    """An agent's words for a failure."""
    text = redact(data.decode("utf-8", "replace"), [SECRET])
    assert len(text) <= MAX_ERROR_CHARACTERS, "too long"
    assert SECRET not in text, "a secret is shown"


def _cut(data: bytes) -> list[bytes]:
    """Cut somewhere; the same data always in the same places."""
    chance = random.Random(len(data))
    places = sorted(chance.sample(range(len(data) + 1), min(len(data) + 1, 12)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def live_feeder(gateway: processes.Process) -> Callable[[bytes], None]:
    """Bytes for a connection of its own; then the gateway has to answer, and to have logged no error."""
    read_to = 0

    def feed(data: bytes) -> None:
        nonlocal read_to
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=ANSWER_SECONDS) as line:
            line.settimeout(0.02)
            with contextlib.suppress(OSError):
                line.sendall(data)
                line.recv(65_536)
        with urllib.request.urlopen(gateway.http_url + "/health", timeout=ANSWER_SECONDS):
            pass
        log = gateway.output()[read_to:]
        read_to += len(log)
        assert not re.search(r"Traceback|ERROR|CRITICAL|never retrieved| 500 ", log), log[-3_000:]

    return feed


def targets(gateway: processes.Process) -> list[Target]:
    """All that is fed."""
    chunked = b"POST /api/v1/sessions/a/messages HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    chunked += KEY_LINE + b"Transfer-Encoding: chunked\r\n\r\n" + BODY
    requests = [
        b"GET /health HTTP/1.1\r\nHost: h\r\nCookie: a=b; c=\xc4\x85\r\nConnection: close\r\n\r\n",
        b"GET http://h/api/v1/sessions?limit=2&cursor=x HTTP/1.1\r\nHost: h\r\n" + KEY_LINE + b"\r\n",
        b"GET /api/v1/sessions/a/frames?epoch=a&offset=1 HTTP/1.1\r\nHost: h\r\n" + KEY_LINE + b"\r\n",
        b"GET /api/v1/sessions/a/events HTTP/1.1\r\nHost: h\r\nLast-Event-ID: a:1\r\n" + KEY_LINE + b"\r\n",
    ]
    v1 = HANDSHAKE + b"Sec-WebSocket-Protocol: gateway.v1, x\r\n"
    addresses = [
        *(b"redis://user:%b@[::1]:6379/0?socket_timeout=1", b"rediss://h:1/2?ssl_cert_reqs=none,unix:///a?db=1"),
        *(b"redis+sentinel://u:%b@a:1,b:2/service/1?sentinel_password=x", b"postgres://u:%b@h:1/d?sslmode=require"),
        *(b"sqlite:///db.sqlite3", b"https://u:%b@example.com:8/a?b#c"),
    ]
    answers = [
        b'data: {"type":"assistant_message","token":"a","is_final":false}\n\n',
        b'event: error\nid: 1\ndata: {"type":"error","content":null}\n\ndata: [DONE]\n\n',
        b'data: {"type":"tool_call"}\r\n\r\ndata: {"type":"done","is_final":true,"finish_reason":"error"}\r\n\r\n',
    ]
    env = b"# a\nexport GATEWAY__SECRET_KEY = '%b' # b\r\nGATEWAY__VERSION=\"1\"\n"
    live = live_feeder(gateway)
    return [
        Target("head", [*requests, HANDSHAKE + b"\r\n", v1 + b"\r\n"], feed_head),
        Target("agent's chunks", [BODY, b"3\r\nabc\r\n10;a\r\n0123456789abcdef\r\n0\r\n\r\n"], feed_body),
        Target("agent's events", answers, events_feeder(OwnAgent())),
        Target("openai", recorded("openai"), events_feeder(OpenAI())),
        Target("agui", recorded("agui"), events_feeder(AgUi())),
        Target("aisdk", recorded("aisdk"), events_feeder(AiSdk())),
        Target("error text", [b"token=" + SECRET.encode() + b" at http://u:p@10.0.0.1:80/a\n  at f(x)"], feed_error),
        Target("env", [env.replace(b"%b", SECRET.encode())], feed_env),
        Target("addresses", [address.replace(b"%b", SECRET.encode()) for address in addresses], feed_address),
        Target("requests", requests, live, is_live=True),
        Target("bodies", [chunked], live, is_live=True),
        Target("frames", [line + b"\r\n" + frame for line in (HANDSHAKE, v1) for frame in FRAMES], live, is_live=True),
    ]


def mutations(examples: list[bytes], chance: random.Random) -> Iterator[bytes]:
    """Examples in pieces, put together in other ways."""
    while True:
        data = bytearray(chance.choice(examples))
        for _ in range(chance.choice((1, 1, 2, 3, 8))):
            at = chance.randrange(len(data) + 1)
            end = min(at + chance.choice((1, 2, 8, 40)), len(data))
            new = chance.choice(
                [
                    chance.choice(WORDS),
                    b"",
                    bytes(data[at:end]) * chance.choice((2, 3, 50)),
                    chance.randbytes(chance.choice((1, 4))),
                    chance.choice(examples)[at:],
                ]
            )
            data[at : chance.choice((at, end))] = new
        yield bytes(data)


def check_time(target: Target, piece: bytes) -> None:
    """Compare the time for many of a piece with that for ten times as many; the best of some, as others run too."""

    def seconds(times: int) -> float:
        best = float("inf")
        for _ in range(3):
            started_at = time.process_time()
            target.feed(target.examples[0] + piece * times)
            best = min(best, time.process_time() - started_at)
        return best

    longer = seconds(10 * REPEATS)
    assert longer < LEAST_SECONDS or longer < MAX_RATIO * max(seconds(REPEATS), LEAST_SECONDS / MAX_RATIO), "time"


def run(target: Target, seconds: float, chance: random.Random) -> tuple[int, dict[str, bytes]]:
    """Feed one target. Returns how many inputs there were, and an input for each kind of failure."""
    failures = dict[str, bytes]()
    ends_at = time.monotonic() + seconds
    for count, mutation in enumerate(mutations(target.examples, chance)):
        data = mutation
        if time.monotonic() > ends_at:
            return count, failures
        try:
            target.feed(data)
            if not target.is_live and count % 20 == 0:
                at = chance.randrange(len(data) + 1)
                data = data[at : at + chance.choice((1, 2, 5, 20))]
                check_time(target, data)
        except Exception as exc:
            failures.setdefault(f"{type(exc).__name__}: {str(exc)[:2_000]}"[: None if target.is_live else 100], data)
    raise AssertionError("mutations do not end")


def main() -> int:
    """Feed all, one after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="in all")
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = random.randrange(10**6) if arguments.seed is None else arguments.seed
    is_failed = False
    with (
        processes.agent("demo") as agent,
        processes.gateway("serve", agent.http_url, RATE_LIMIT="0") as gateway,
    ):
        all_targets = targets(gateway)
        for target in all_targets:
            chance = random.Random(f"{seed} {target.name}")
            count, failures = run(target, arguments.seconds / len(all_targets), chance)
            print(f"seed {seed}  {target.name:16}{count:9,} inputs, {len(failures)} failures", flush=True)
            for failure, data in failures.items():
                is_failed = True
                print(f"  {failure}\n    {data[:400]!r}", flush=True)
    return int(is_failed)


if __name__ == "__main__":
    sys.exit(main())
