"""The scripts that a message can ask for by name.

One at least for each row of PROTOCOL.md's table "The agent's side". ``script:status 503 retry-after=7`` as a message's
content plays ``status`` with one word and one option; see ``SCRIPTS`` for the names.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from tests.scripted_agent.steps import (
    BadChunk,
    Break,
    CloseWhenReused,
    ContentType,
    Drop,
    EndlessHeaders,
    Event,
    Final,
    Head,
    Raw,
    Reset,
    Send,
    SplitBytes,
    Stall,
    Status,
    Step,
    Token,
    Wait,
    event_bytes,
    final_value,
    token_value,
)

PREFIX = "script:"

_gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


def echo(content: str) -> Iterator[Step]:
    """Repeat what was said, word by word: joined, the tokens are the text."""
    yield Token("")
    words = content.split(" ")
    for word in words[:-1]:
        yield Token(word + " ")
    yield Token(words[-1])
    yield Final()


def open_gate(name: str) -> None:
    """Let the answers go on that wait at this gate, and those that come to it later."""
    _gates[name].set()


def script_for(content: str) -> Iterable[Step]:
    """The script that a message asks for; without ``script:`` it is echoed."""
    if not content.startswith(PREFIX):
        return echo(content)
    try:
        name, *rest = content.removeprefix(PREFIX).split()
        words = [word for word in rest if "=" not in word]
        options = dict(word.split("=", 1) for word in rest if "=" in word)
        steps = SCRIPTS[name](words, options)
        return steps if name in _LAZY else list(steps)  # a list: what is wrong with the words shows here
    except (KeyError, ValueError, IndexError) as exc:
        return [Status(400, body=f"{content!r} is no script: {exc!r}".encode())]


Options = dict[str, str]
Made = Callable[[list[str], Options], Iterable[Step]]


def _paced(options: Options, steps: Iterable[Step]) -> Iterator[Step]:
    delay_seconds = float(options.get("delay", "0"))
    for step in steps:
        if delay_seconds:
            yield Wait(delay_seconds)
        yield step


def _tokens(words: list[str], options: Options) -> Iterator[Step]:
    """``tokens <n> [delay=<seconds>] [gate=<name>] [last=<name>]``: an empty one, then ``0 `` ``1 `` ….

    Half of them wait at the gate, the end at the last one.
    """
    numbers = range(int(words[0]))
    yield Token("")
    yield from _paced(options, (Token(f"{number} ") for number in numbers[: len(numbers) // 2]))
    if "gate" in options:
        yield Wait(_gates[options["gate"]])
    yield from _paced(options, (Token(f"{number} ") for number in numbers[len(numbers) // 2 :]))
    if "last" in options:
        yield Wait(_gates[options["last"]])
    yield Final(options.get("finish"))


def _kinds(words: list[str], options: Options) -> Iterator[Step]:
    """``kinds gate=<name>``: reasoning, ``a ``, a tool's call and its result, another event; at the gate ``b``."""
    yield Event({"type": "reasoning", "token": "hm"})
    yield Token("a ")
    yield Event({"type": "tool_call", "call_id": "c", "tool_name": "clock", "arguments": {"zone": "UTC"}})
    yield Event({"type": "tool_result", "call_id": "c", "result": {"hour": 9}})
    yield Event({"type": "agent_switched", "agent": "colleague"})
    yield Wait(_gates[options["gate"]])
    yield Token("b")
    yield Final()


def _ask(words: list[str], options: Options) -> Iterator[Step]:
    """``ask <call_id> [gate=<name>]``: ask a person; the end comes at the gate."""
    yield Event(
        {"type": "tool_call", "call_id": words[0], "tool_name": "pay", "arguments": {}, "requires_approval": True}
    )
    if "gate" in options:
        yield Wait(_gates[options["gate"]])
    yield Final("interrupt")


def _interim(words: list[str], options: Options) -> Iterator[Step]:
    """``interim <n> delay=<seconds>``: n times 102 Processing, and then the answer."""
    yield from _paced(options, (Raw(b"HTTP/1.1 102 Processing\r\n\r\n") for _ in range(int(words[0]))))
    yield Token("a ")
    yield Final()


def _burst(words: list[str], options: Options) -> Iterator[Step]:
    """``burst <n>``: ``0 `` ``1 `` …, all of them at once."""
    yield Send(b"".join(event_bytes(token_value(f"{number} ")) for number in range(int(words[0]))))
    yield Final()


def _distinct(words: list[str], options: Options) -> Iterator[Step]:
    """``distinct <n> <prefix> [delay=<seconds>]``: ``<prefix>-0 `` ``<prefix>-1 `` …, nothing else."""
    yield from _paced(options, (Token(f"{words[1]}-{number} ") for number in range(int(words[0]))))
    yield Final()


def _stamps(words: list[str], options: Options) -> Iterator[Step]:
    """``stamps <n> delay=<seconds>``: the moment at which each token is sent, in nanoseconds, sixteen digits."""
    for _ in range(int(words[0])):
        yield Wait(float(options["delay"]))
        yield Token(f"{time.monotonic_ns():016d}")
    yield Final()


def _status(words: list[str], options: Options) -> Iterator[Step]:
    """``status <code> [<header>=<value> …]``"""
    yield Status(int(words[0]), options)


def _big_event(words: list[str], options: Options) -> Iterator[Step]:
    """``big-event <n>``: one token of n characters."""
    yield Token("x" * int(words[0]))
    yield Final()


def _big_answer(words: list[str], options: Options) -> Iterator[Step]:
    """``big-answer <n>``: n tokens of 1,000 characters."""
    yield from (Token("x" * 1_000) for _ in range(int(words[0])))
    yield Final()


def _endless_line(words: list[str], options: Options) -> Iterator[Step]:
    """``endless-line``: data without an end."""
    yield Send(b"data: ")
    while True:
        yield Send(b"x" * 1_000)


def _split(words: list[str], options: Options) -> Iterator[Step]:
    """``split <n>``: every n bytes in a chunk of their own, in the middle of characters too."""
    yield SplitBytes(int(words[0]))
    yield Send('data: {"type":"assistant_message","token":"größer €5 🙂","is_final":false}\r\n\r\n'.encode())
    yield Final()


_RESERVED = ("welcome", "snapshot", "user_message", "accepted", "cancel", "cancel_ack", "ping", "notice", "disconnect")
_GARBAGE = (
    b"data: not JSON\n\n",
    b"data: [1]\n\n",
    b'data: "text"\n\n',
    b"data: {}\n\n",
    b'data: {"type":7}\n\n',
    b'data: {"type":"assistant_message"}\n\n',
    b'data: {"type":"assistant_message","token":7,"is_final":false}\n\n',
    b'data: {"type":"assistant_message","token":"x","is_final":"yes"}\n\n',
    b"data: \xff\xfe\n\n",
)
_ALIVE = b": a comment\n\nretry: 5\n\nid: 7\n\nevent: x\n\n"
_LATE = (Token("late "), Event({"type": "error", "content": "late"}), Event({"type": "tool_call"}), Final())


def _crlf(end: bytes) -> list[Step]:
    return [
        Send(event_bytes(value).replace(b"\n", end)) for value in (token_value("a "), token_value("b"), final_value())
    ]


FIXED: dict[str, list[Step]] = {
    # tokens and ends
    "final-token": [Token("a "), Final(token="b")],
    "final-only": [Final()],
    "after-final": [Token("a "), Final(), *_LATE, Stall()],
    "one-read": [
        Token("a "),
        Send(b"".join(map(event_bytes, [token_value("b "), token_value("c "), final_value(), token_value("late ")]))),
        Stall(),
    ],
    "done": [Token("a "), Send(b"data: [DONE]\n\n"), Stall()],
    "done-after-final": [Token("a "), Final(), Send(b"data: [DONE]\n\n")],
    "extra-fields": [
        Event({**token_value("a "), "offset": 99, "turn_id": "t", "x": 1}),
        Event({**final_value(), "x": 1}),
    ],
    # other events
    "tool-result": [
        Token("a "),
        Event({"type": "tool_call", "call_id": "c", "tool_name": "clock", "arguments": {"zone": "UTC"}}),
        Event({"type": "tool_result", "call_id": "c", "result": {"hour": 9}}),
        Token("b"),
        Final(),
    ],
    "asks": [
        Token("a "),
        Event({"type": "tool_call", "call_id": "q", "tool_name": "pay", "requires_approval": True}),
        Final("interrupt"),
    ],
    "typed": [
        Token("a "),
        Event({"type": "tool_call", "name": "clock", "turn_id": "its own", "offset": 99}),
        Event({"type": "agent_switched", "agent": "colleague", "nested": {"offset": 1}}),
        Token("b"),
        Final(),
    ],
    "tools": [
        Token("a "),
        Event({"type": "reasoning", "token": "Let me"}),
        Event({"type": "reasoning", "token": " see."}),
        Token("b"),
        Event({"type": "tool_call", "call_id": "c", "tool_name": "clock", "arguments": {}}),
        Event({"type": "tool_result", "call_id": "c", "error": "no clock"}),
        Final(),
    ],
    "reserved": [Token("a "), *(Event({"type": kind, "content": "no"}) for kind in _RESERVED), Token("b"), Final()],
    "comments": [Send(_ALIVE), Token("a "), Send(_ALIVE), Token("b"), Send(_ALIVE), Final()],
    "garbage": [Token("a "), *(Send(data) for data in _GARBAGE), Token("b"), Final()],
    "surrogates": [Token("\ud83d"), Token("\ude42"), Final()],
    "line-separators": [
        Send('data: {"type":"assistant_message","token":"a\u2028b\x85c","is_final":false}\n\n'.encode()),
        Final(),
    ],
    "multi-line": [Send(b'data: {"type":"assistant_message",\ndata: "token":"a ","is_final":false}\n\n'), Final()],
    "crlf": _crlf(b"\r\n"),
    "cr": _crlf(b"\r"),
    "bom": [Send(b"\xef\xbb\xbf"), Token("a "), Final()],
    "odd-numbers": [
        Token("a "),
        Send(b'data: {"type":"x","number":NaN,"big":1e999,"small":1,"is_final":null}\n\n'),
        Token("b"),
        Final(),
    ],
    "event-final": [
        Token("a "),
        Event({"type": "tool_call", "name": "clock", "is_final": True}),
        Token("late "),
        Stall(),
    ],
    "tool-call-last": [Token("a "), Event({"type": "tool_call", "name": "clock", "is_final": False})],
    "done-name": [Token("a "), Send(b'event: done\ndata: {"status":"completed"}\n\n'), Stall()],
    "final-content": [Event({"type": "assistant_message", "token": None, "content": "a ", "is_final": True}), Stall()],
    # errors of any shape, and a final event that does not make a success of them
    "error-null": [Token("a "), Event({"type": "error", "content": None}), Final()],
    "error-object": [Token("a "), Event({"type": "error", "content": {"message": "no quota"}}), Final()],
    "error-name": [Token("a "), Send(b"event: error\ndata: LLM failed\n\n"), Final()],
    "error-untyped": [Token("a "), Event({"error": {"message": "LLM failed"}}), Final()],
    "not-understood": [Event({"choices": [{"delta": {"content": "Hi"}}]}), Send(b"data: [DONE]\n\n")],
    # broken streams
    "empty": [Head()],
    "eof": [Token("a "), Token("b")],
    "eof-in-event": [Token("a "), Send(event_bytes(final_value()).removesuffix(b"\n"))],
    "break": [Token("a "), Break()],
    "bad-chunk": [Token("a "), BadChunk(), Stall()],
    "bad-first-chunk": [
        Raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n"),
        Stall(),
    ],
    "reset": [Token("a "), Reset()],
    "drop": [Drop()],
    "reset-first": [Reset()],
    "close-when-reused": [CloseWhenReused(), Token("a "), Final()],
    # silence
    "stall": [Token("a "), Stall()],
    "stall-after-head": [Head(), Stall()],
    "stall-first-byte": [Stall()],
    "stall-in-event": [Token("a "), Send(b'data: {"type":"assistant'), Stall()],
    "stall-after-comment": [Token("a "), Send(b": alive\n\n"), Stall()],
    # no HTTP
    "endless-headers": [EndlessHeaders()],
    "not-http": [Raw(b"220 mail.example.org ESMTP\r\n"), Drop()],
}

SCRIPTS: dict[str, Made] = {
    **{name: (lambda words, options, steps=steps: steps) for name, steps in FIXED.items()},
    "tokens": _tokens,
    "kinds": _kinds,
    "ask": _ask,
    "interim": _interim,
    "burst": _burst,
    "kept": _distinct,  # see kept.py
    "distinct": _distinct,
    "stamps": _stamps,
    "status": _status,
    "error": lambda words, options: [Token("a "), Event({"type": "error", "content": " ".join(words)})],
    "content-type": lambda words, options: [ContentType(" ".join(words)), Token("a "), Final()],
    "finish": lambda words, options: [Token("a "), Final(words[0])],
    "wait": lambda words, options: [Token("a "), Wait(float(words[0])), Token("b"), Final()],
    "split": _split,
    "big-event": _big_event,
    "big-answer": _big_answer,
    "endless-line": _endless_line,
}
_LAZY = frozenset({"endless-line", "stamps"})
