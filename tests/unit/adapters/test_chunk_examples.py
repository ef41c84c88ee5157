"""The examples that hold the JavaScript translation into the AI SDK's chunks to the gateway's own.

``python -m tests.unit.adapters.test_chunk_examples`` writes them again.
"""

import json

from relay.adapters.ai_sdk import AiSdkTranslator
from relay.exceptions import UpstreamEof
from relay.protocol import frames
from tests.processes import ROOT
from tests.unit.adapters.turns import CALL, RESULT, TURN_ID, placed, snapshot, translated, turn

FILE = ROOT / "tests" / "javascript" / "transport" / "chunks.json"
ASKING = {**CALL, "requires_approval": True}
ABOUT = {**ASKING, "call_id": "i", "tool_call": CALL}
DECISION = '{"type":"hitl_decision","call_id":"i","ui_message":{"id":"t1","calls":["c1"]}}'

TURNS = {
    "text": turn("He", "", "llo", end="stop"),
    "no text": turn(end="stop"),
    "half an emoji each": turn("\ud83d", "\ude42", end="stop"),
    "reasoning between texts": turn("a", {"type": "reasoning", "token": "h"}, {"type": "reasoning", "token": ""}, "b"),
    "reasoning without words": turn({"type": "reasoning", "content": "hm"}, {"type": "reasoning", "token": 7}),
    "tool": turn("a", CALL, RESULT, "b", end="stop"),
    "tool in the other spelling": turn({"type": "tool_call", "tool_call_id": 7, "name": "clock"}),
    "tool that fails": turn(CALL, {"type": "tool_result", "call_id": "c1", "error": "down"}),
    "tool that fails in an object": turn(
        CALL, {"type": "tool_result", "call_id": "c1", "error": {"no": ["way", None]}}
    ),
    "tool without a result": turn(CALL, {"type": "tool_result", "call_id": "c1", "error": None}),
    "result without a call": turn(RESULT),
    "call without a name": turn({"type": "tool_call", "call_id": "c1"}),
    "tool that waits for a person": turn(ASKING),
    "question about a call": turn(CALL, ABOUT, end="interrupt"),
    "answer": placed([frames.user_message(TURN_ID, DECISION), *turn(RESULT, "a", end="stop")[1:]]),
    "another message": turn("a", {"type": "message_start", "message_id": "m2"}, "b", end="stop"),
    "other events": turn("a", {"type": "finish", "finishReason": "stop"}, {"type": "note", "deep": [1, {"er": None}]}),
    "notice": placed([*turn("a"), frames.notice(TURN_ID, "c", "words"), frames.token(TURN_ID, "b")]),
    "question that is answered": placed([*turn(), frames.pending_resolved(TURN_ID, "c1"), frames.token(TURN_ID, "b")]),
    "forwarded message": placed([frames.user_message(TURN_ID, '{"type":"ui_message","message":{}}'), *turn("a")[1:]]),
    "cancelled": turn("a", end="cancelled"),
    "interrupt": turn(end="interrupt"),
    "length": turn(end="length"),
    "content filter": turn(end="content_filter"),
    "another reason": turn(end="constructor"),
    "error": turn("a", end=UpstreamEof()),
}
SNAPSHOTS = {"snapshot": snapshot("all of it"), "empty snapshot": snapshot("")}


def example(name, made, chunks, **options):
    return {"name": name, "options": options, "frames": made, "chunks": chunks}


def examples():
    found = []
    for name, made in TURNS.items():
        sent = [json.loads(frame.v1) for frame in made]
        found.append(example(name, sent, translated(AiSdkTranslator(TURN_ID), made)))
    for name in ("tool that waits for a person", "question about a call"):
        sent = [json.loads(frame.v1) for frame in TURNS[name]]
        asked = translated(AiSdkTranslator(TURN_ID, has_approvals=True), TURNS[name])
        found.append(example(f"{name}, with approvals", sent, asked, hasApprovals=True))
    sent = [json.loads(frame.v1) for frame in TURNS["answer"]]
    goes_on = translated(AiSdkTranslator(TURN_ID, continues=True), TURNS["answer"])
    found.append(example("answer that goes on", sent, goes_on, continues=True))
    for name, given in SNAPSHOTS.items():
        sent = {"type": "snapshot", "turn_id": TURN_ID, "content": given.text}
        found.append(example(name, [sent], [json.loads(chunk) for chunk in AiSdkTranslator(TURN_ID).snapshot(given)]))
    return found


def test_examples_are_what_the_gateway_writes():
    assert json.loads(FILE.read_text()) == examples()


if __name__ == "__main__":
    FILE.write_text("[\n" + ",\n".join(json.dumps(one) for one in examples()) + "\n]\n")
