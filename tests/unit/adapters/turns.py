"""Turns as their frames, and what a translator makes of them."""

import json

from hypothesis import strategies as st

from relay.exceptions import UpstreamEof
from relay.protocol import frames
from relay.protocol.frames import Snapshot

TURN_ID = "T"
CALL = {"type": "tool_call", "call_id": "c1", "tool_name": "search", "arguments": {"q": "é"}}
RESULT = {"type": "tool_result", "call_id": "c1", "result": {"hits": 2}}


def turn(*parts, end=None):
    """Frames of a turn: a text is a token, an object an event; ``end`` a finish reason, an error, or nothing yet."""
    made = [frames.user_message(TURN_ID, '{"type":"user_message","content":"Hi"}')]
    made += [frames.token(TURN_ID, part) if isinstance(part, str) else frames.event(TURN_ID, part) for part in parts]
    if isinstance(end, str):
        made.append(frames.final(TURN_ID, end))
    elif end is not None:
        made.append(frames.error(TURN_ID, end))
    return placed(made)


def placed(made):
    """The frames, as the log numbers them."""
    for offset, frame in enumerate(made, 5):
        frame.offset = offset
    return made


def snapshot(text, end=None):
    return Snapshot("E", 9, "trimmed", TURN_ID, text, frames.final(TURN_ID, end) if end else None)


def translated(translator, made):
    """Each event as the client parses it; what is no JSON as it is."""
    return [parsed(event) for frame in made for event in translator.events(frame)]


def parsed(event):
    return event if event.startswith("[") else json.loads(event)


texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=5)
events = st.sampled_from(
    [
        {"type": "reasoning", "token": "hm"},
        {"type": "reasoning", "token": ""},
        {"type": "message_start", "message_id": "m2"},
        {"type": "usage", "input_tokens": 3, "output_tokens": 4},
        {"type": "finish"},
        {"type": "RUN_FINISHED"},
        {"type": "STATE_DELTA", "delta": []},
        {"type": "note", "deep": {"er": [1, None]}},
        {"type": "tool_call"},
        {"type": "tool_result", "call_id": "unknown", "result": 1},
        {"type": "tool_result", "call_id": "c1", "error": {"no": "way"}},
        CALL,
        RESULT,
    ]
)
ends = st.sampled_from(["stop", "length", "cancelled", "interrupt", "anything", UpstreamEof()])
turns = st.builds(lambda parts, end: turn(*parts, end=end), st.lists(texts | events, max_size=12), ends)
