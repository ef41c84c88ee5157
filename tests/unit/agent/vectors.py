"""Answers of agents and the frames that become of them, whole and cut.

A vector file is a list of objects: ``name``; ``events``, the body as it is on the wire; ``frames``, those that
gateway.v1 clients get, less ``turn_id`` and ``offset``; if need be ``headers`` of the response, and ``ends_after``, the
text after which the body may end without loss, if that is not its last event.
"""

import json
from pathlib import Path

import pytest

from relay.agent.protocols.base import AnswerReader
from relay.exceptions import UpstreamEof
from relay.layers.values import Turn
from relay.protocol import frames
from relay.protocol.event_stream import EventStreamDecoder
from relay.protocol.frames import FrameKind

MAX_CUTS = 2_000  # of a long recording not every position is tried
TURN = Turn(session_id="S", turn_id="T", lease_id="L", message={"type": "user_message", "content": "Hi"})


def every(file_name):
    """Parametrize a test with the vectors of a file."""
    vectors = json.loads((Path(__file__).parent / file_name).read_text())
    return pytest.mark.parametrize("vector", vectors, ids=[vector["name"] for vector in vectors])


def reader(protocol, *, turn=TURN, max_turn_bytes=1_000_000, redact=str.strip) -> AnswerReader:
    """Make a protocol's reader."""
    return protocol.reader(turn, max_turn_bytes=max_turn_bytes, redact=redact)


def answer(protocol, chunks, headers=None):
    """Read a body that comes in chunks, as an answer does. Gives all frames."""
    events, decoder, made = reader(protocol), EventStreamDecoder(65_536), []
    events.opened(headers or {})
    for chunk in chunks:
        made += events.frames(decoder.feed(chunk))
    if not events.is_over:
        try:
            made += events.end_of_body(is_within_event=decoder.is_within_event)
        except UpstreamEof as exc:
            made.append(frames.error("T", exc))
    return made


def brief(made):
    """Each frame as gateway.v1 clients read it, less what the log adds, and less the words of ``upstream_eof``."""
    found = []
    for frame in made:
        fields = json.loads(frame.v1)
        assert fields.pop("turn_id") == "T"
        del fields["offset"]
        if fields.get("code") == UpstreamEof.code:
            del fields["content"]
        found.append(fields)
    return found


def check_frames_however_cut(protocol, vector):
    """The answer gives the vector's frames: whole, byte by byte, in sevens, and cut in two anywhere."""
    body, headers = vector["events"].encode(), vector.get("headers")
    for size in (max(len(body), 1), 1, 7):
        chunks = [body[start : start + size] for start in range(0, len(body), size)]
        assert brief(answer(protocol, chunks, headers)) == vector["frames"], f"in chunks of {size}"
    for cut in _cuts(len(body)):
        made = answer(protocol, [body[:cut], body[cut:]], headers)
        assert brief(made) == vector["frames"], f"cut before {body[cut : cut + 20]!r}"


def check_no_cut_is_a_success(protocol, vector):
    """The answer, broken off before its end, is no success, and what came before is not lost."""
    body, headers = vector["events"].encode(), vector.get("headers")
    assert sum(frame["type"] == "error" or frame.get("is_final") is True for frame in vector["frames"]) == 1
    end = len(body.rstrip(b"\r\n"))
    if "ends_after" in vector:
        end = body.index(vector["ends_after"].encode()) + len(vector["ends_after"].encode())
    for cut in _cuts(end + 1):
        made = answer(protocol, [body[:cut]], headers)
        assert made[-1].kind is not FrameKind.FINAL, f"broken off before {body[cut : cut + 20]!r}"
        *before, _ = brief(made)
        assert before == vector["frames"][: len(before)]


def _cuts(length):
    return range(0, length, length // MAX_CUTS + 1)


def error(words):
    """The frame of an error in the agent's words."""
    return {"type": "error", "content": words, "code": "upstream_error"}


def final(reason="stop"):
    """The frame of an answer's end."""
    return {"type": "assistant_message", "token": "", "is_final": True, "finish_reason": reason}


def token(text):
    """The frame of a token."""
    return {"type": "assistant_message", "token": text, "is_final": False}
