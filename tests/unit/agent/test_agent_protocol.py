"""PROTOCOL's "The agent's side", the rows about what an event says."""

import json
from itertools import zip_longest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.agent.protocols.agent import AgentEvents, OwnAgent
from relay.agent.protocols.base import RESERVED_TYPES
from relay.exceptions import UpstreamProtocol
from relay.protocol.event_stream import Event
from relay.protocol.frames import FrameKind
from tests.unit.agent import vectors
from tests.unit.agent.vectors import brief, error, final, token

FINAL = '{"type":"assistant_message","token":"","is_final":true}'
TOKEN = '{"type":"assistant_message","token":"a","is_final":false}'


def reader(max_turn_bytes=1_000_000, redact=str.strip):
    return AgentEvents("T", max_turn_bytes=max_turn_bytes, redact=redact)


def read(*datas, events=None):
    return (events or reader()).frames([Event(data, "", "") for data in datas])


@vectors.every("agent_events.json")
def test_an_answer_and_what_becomes_of_it_however_it_is_cut(vector):
    vectors.check_frames_however_cut(OwnAgent(), vector)


@vectors.every("agent_events.json")
def test_an_answer_cut_before_its_end_is_no_success(vector):
    vectors.check_no_cut_is_a_success(OwnAgent(), vector)


@vectors.every("agent_events.json")
def test_an_answer_cut_within_its_last_event_is_no_success(vector):
    """Unless it is cut right behind a tool call, which may be an end."""
    *before, end = vector["events"].encode().rstrip(b"\n").split(b"\n\n")
    whole = b"".join(event + b"\n\n" for event in before)
    for cut in range(len(end)):
        frames = vectors.answer(OwnAgent(), [whole + end[:cut]])
        success = frames[-1].kind is FrameKind.FINAL
        assert not success or (not cut and frames[-2].kind is FrameKind.EVENT), end[:cut]


@pytest.mark.parametrize("together", [True, False])
def test_answer_that_is_too_long_is_refused_however_it_arrives(together):
    def read_all(max_turn_bytes):
        events, datas = reader(max_turn_bytes), [TOKEN, TOKEN]
        return read(*datas, events=events) if together else [read(data, events=events) for data in datas]

    with pytest.raises(UpstreamProtocol):
        read_all(2 * len(TOKEN) - 1)
    assert len(read_all(2 * len(TOKEN))) == 2


NO_WORDS = "The agent could not answer this message."


@pytest.mark.parametrize(("open_", "close"), [('{"error":', "}"), ("[", "]")])
@pytest.mark.parametrize(("depth", "words"), [(1, "words"), (7, "words"), (8, NO_WORDS), (900, NO_WORDS)])
def test_words_of_an_error_are_looked_for_so_deep_and_no_deeper(open_, close, depth, words):
    (frame,) = read('{"type":"error","content":' + open_ * depth + '"words"' + close * depth + "}")
    assert json.loads(frame.body)["content"] == words


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (TOKEN, [token("a")]),
        ('{"type":"assistant_message","token":"","is_final":false}', [token("")]),
        ('{"type":"assistant_message","token":"a"}', [token("a")]),
        ('{"is_final":false,"token":"a","type":"assistant_message"}', [token("a")]),
        ('{"type":"assistant_message","token":"a","is_final":false,"model":"m","turn_id":"X"}', [token("a")]),
        ('{"type":"assistant_message","token":"\\ud83d","is_final":false,"model":"m"}', [token("\ud83d")]),
        ('{"type":"assistant_message","token":"a","is_final":false,"finish_reason":null}', [token("a")]),
        (FINAL, [final()]),
        ('{"type":"assistant_message","is_final":true}', [final()]),
        ('{"type":"assistant_message","token":"a","is_final":true}', [token("a"), final()]),
        ('{"type":"assistant_message","token":"\\ude00","is_final":true}', [token("\ude00"), final()]),
        ('{"type":"assistant_message","token":"","is_final":true,"finish_reason":"length"}', [final("length")]),
        (f'{{"type":"assistant_message","is_final":true,"finish_reason":"{"x" * 101}"}}', [final("x" * 100)]),
        ('{"type":"assistant_message","token":"","is_final":true,"finish_reason":""}', [final()]),
        ('{"type":"assistant_message","token":"","is_final":true,"finish_reason":null,"x":1}', [final()]),
        ("[DONE]", [final()]),
        (" [DONE]\n", [final()]),
        ('{"type":"error","content":"words"}', [error("words")]),
        ('{"type":"error","content":" words ","code":"x","turn_id":"X"}', [error("words")]),
        ('{"type":"error","content":""}', [error(NO_WORDS)]),
        ('{"type":"error"}', [error(NO_WORDS)]),
        ('{"type":"error","content":null}', [error(NO_WORDS)]),
        ('{"type":"error","content":5}', [error(NO_WORDS)]),
        ('{"type":"error","content":["words"]}', [error("words")]),
        ('{"type":"error","content":{"code":7}}', [error(NO_WORDS)]),
        ('{"type":"error","content":"wor', [error(NO_WORDS)]),
        (' { "type" : "error"}{"type":"tool_call"}', [error(NO_WORDS)]),
        pytest.param('{"type":"error","x":' + "[" * 10_000 + "]" * 10_000 + "}", [error(NO_WORDS)], id="nested error"),
        ('{"type":"assistant_message","token":"a","is_final":null}', [token("a")]),
        ('{"type":"assistant_message","token":"a","x":NaN}', [token("a")]),
        ('{"type":"assistant_message","token":"","is_final":true,"finish_reason":5}', [final()]),
        (
            '{"type":"tool_call","x":NaN,"y":[1e999,-Infinity,1]}',
            [{"type": "tool_call", "x": None, "y": [None, None, 1]}],
        ),
        ('{"type":"tool_call","x":' + "9" * 310 + "}", [{"type": "tool_call", "x": int("9" * 310)}]),
        ('{"type":"tool_call","x":' + "9" * 5_000 + "}", [{"type": "tool_call", "x": None}]),
        ('{"type":"tool_call","is_final":false}', [{"type": "tool_call"}]),
        ('{"type":"tool_call","is_final":true}', [{"type": "tool_call"}, final("tool_calls")]),
        ('{"type":"tool_call","args":{"a":[1,null]}}', [{"type": "tool_call", "args": {"a": [1, None]}}]),
        ('{"type":"a","turn_id":"X","offset":99,"code":"c"}', [{"type": "a", "code": "c"}]),
        ('{"type":"","x":"\\ud83d"}', [{"type": "", "x": "\ud83d"}]),
        ('{"type":"agent_switched"}', [{"type": "agent_switched"}]),
    ],
)
def test_an_event_and_its_frames(data, expected):
    events = reader()
    frames = read(data, events=events)
    assert brief(frames) == expected
    assert events.is_over is frames[-1].is_terminal
    assert events.skipped == {"malformed": 0, "reserved": 0}


@pytest.mark.parametrize("kind", sorted(RESERVED_TYPES))
def test_a_type_of_the_gateways_own_is_dropped_counted_and_noticed(kind):
    events = reader()
    (frame,) = read(json.dumps({"type": kind, "token": "a", "content": "b"}), events=events)
    assert frame.kind is FrameKind.NOTICE
    assert brief([frame])[0]["code"] == "upstream_event_skipped"
    assert events.skipped == {"malformed": 0, "reserved": 1}


def test_the_gateways_own_types_are_those_of_the_protocol():
    assert {
        "welcome",
        "snapshot",
        "user_message",
        "accepted",
        "cancel",
        "cancel_ack",
        "ping",
        "notice",
        "pending_resolved",
        "disconnect",
    } == RESERVED_TYPES


@pytest.mark.parametrize(
    "data",
    [
        "hello",
        "{",
        "null",
        "5",
        '"text"',
        "[]",
        "{}",
        '["[DONE]"]',
        '"[DONE]"',
        "[done]",
        '{"token":"a","is_final":false}',
        '{"token":"a"}',
        '{"type":null,"token":"a"}',
        '{"type":5}',
        '{"type":["tool_call"]}',
        '{"type":"assistant_message"}',
        '{"type":"assistant_message","is_final":false}',
        '{"type":"assistant_message","token":null,"is_final":false}',
        '{"type":"assistant_message","token":5,"is_final":false}',
        '{"type":"assistant_message","token":"a","is_final":"false"}',
        '{"type":"assistant_message","token":"a","is_final":1}',
        '{"type":"assistant_message","token":"\\ud83d","is_final":0}',
        '{"type":"tool_call"}{"type":"tool_call"}',
        '{"type":"tool_call","is_final":1}',
        '{"type":"assistant_message","token":null,"content":["a"]}',
        '{"type":"assistant_message","content":null}',
        '{"detail":"no error by its own word"}',
        pytest.param('{"type":"tool_call","x":' + "[" * 10_000 + "]" * 10_000 + "}", id="nested"),
    ],
)
def test_data_that_is_no_event_is_skipped_counted_and_noticed(data):
    events = reader()
    (frame,) = read(data, events=events)
    assert frame.kind is FrameKind.NOTICE
    assert "understood" in brief([frame])[0]["content"]
    assert events.skipped == {"malformed": 1, "reserved": 0}
    assert not events.is_over
    assert brief(read(TOKEN, events=events)) == [token("a")]


def test_a_notice_comes_once_a_turn_and_cause():
    events = reader()
    kinds = [frame.kind for _ in range(3) for frame in read("x", '{"type":"ping"}', TOKEN, events=events)]
    assert kinds == [FrameKind.NOTICE, FrameKind.NOTICE, *[FrameKind.TOKEN] * 3]
    assert events.skipped == {"malformed": 3, "reserved": 3}


@pytest.mark.parametrize("end", [FINAL, "[DONE]", '{"type":"error","content":"words"}'])
def test_what_comes_after_the_end_is_dropped_and_counted(end):
    events = reader()
    assert len(read(end, TOKEN, FINAL, "x", events=events)) == 1
    assert read("[DONE]", events=events) == []
    assert events.late == 4
    assert events.skipped == {"malformed": 0, "reserved": 0}


def test_a_final_event_and_then_done_ends_once():
    assert brief(read(TOKEN, FINAL, "[DONE]")) == [token("a"), final()]


def test_the_agents_error_is_redacted():
    events = reader(redact=lambda words: words.replace("secret", "…"))
    assert brief(read('{"type":"error","content":"a secret"}', events=events)) == [error("a …")]
    assert brief(read('{"type":"error","content":"\\ud83d secret"}', events=reader(redact=lambda words: ""))) == [
        error(NO_WORDS)
    ]


@pytest.mark.parametrize("text", ["aaaa", "éé", "😀"])
def test_an_answer_at_its_limit_is_whole_and_one_byte_over_is_refused(text):
    data = json.dumps({"type": "assistant_message", "token": text, "is_final": False}, ensure_ascii=False)
    size = len(data.encode())
    assert brief(read(data, data, events=reader(2 * size))) == [token(text)] * 2
    events = reader(2 * size - 1)
    read(data, events=events)
    with pytest.raises(UpstreamProtocol):
        read(data, events=events)


def test_what_comes_after_the_end_does_not_count_against_the_limit():
    events = reader(len(FINAL))
    assert brief(read(FINAL, TOKEN, events=events)) == [final()]


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
kinds = st.sampled_from(["assistant_message", "error", "tool_call", "ping", "done"])
fields = st.fixed_dictionaries(
    {},
    optional={
        "type": kinds | any_json,
        "token": any_json,
        "is_final": any_json,
        "content": any_json,
        "error": any_json,
    },
)
datas = st.lists(st.text() | any_json.map(json.dumps) | fields.map(json.dumps) | st.sampled_from([TOKEN, "[DONE]"]))


names = st.sampled_from(["", "", "message", "error", "done"])


@given(datas, st.lists(names))
def test_whatever_the_agent_says_at_most_one_end_comes_and_it_comes_last(said, names):
    events = reader()
    frames = events.frames(
        [Event(data, name, "") for data, name in zip_longest(said, names[: len(said)], fillvalue="")]
    )
    assert all(not frame.is_terminal for frame in frames[:-1])
    assert events.is_over is bool(frames and frames[-1].is_terminal)
    for frame in frames:
        assert json.loads(frame.v1)["turn_id"] == "T"


@pytest.mark.parametrize("head", ["", "NaN,"])
def test_no_depth_of_nesting_raises(head):
    """What one parser still reads, another may not write."""
    for depth in (100, 900, *range(940, 1_010), 2_000, 30_000):
        (frame,) = read('{"type":"x","x":[' + head + "[" * depth + "]" * depth + "]}")
        assert frame.kind in (FrameKind.EVENT, FrameKind.NOTICE)
