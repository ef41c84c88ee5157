"""PROTOCOL's "The agent's side", the rows about what an event says."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.agent_events import RESERVED_TYPES, AgentEvents
from relay.event_stream import Event
from relay.exceptions import UpstreamProtocol
from relay.frames import FrameKind

FINAL = '{"type":"assistant_message","token":"","is_final":true}'
TOKEN = '{"type":"assistant_message","token":"a","is_final":false}'


def reader(max_turn_bytes=1_000_000, redact=str.strip):
    return AgentEvents("T", max_turn_bytes=max_turn_bytes, redact=redact)


def read(*datas, events=None):
    return (events or reader()).frames([Event(data, "", "") for data in datas])


def brief(frames):
    """Each frame as gateway.v1 clients read it, less what the log adds."""
    found = []
    for frame in frames:
        fields = json.loads(frame.v1)
        assert fields.pop("turn_id") == "T"
        del fields["offset"]
        found.append(fields)
    return found


def token(text):
    return {"type": "assistant_message", "token": text, "is_final": False}


def final(reason="stop"):
    return {"type": "assistant_message", "token": "", "is_final": True, "finish_reason": reason}


def error(words):
    return {"type": "error", "content": words, "code": "upstream_error"}


def tokens_by_either_way(*datas, takes=lambda frame: True, max_turn_bytes=1_000_000):
    """Read each event by the short way where it goes, as an answer does. Gives all frames, and how many went so."""
    events, made, taken = reader(max_turn_bytes), [], 0

    def take(frame):
        return takes(frame) and not made.append(frame)

    for data in datas:
        if events.take_lone_token(data, take):
            taken += 1
        else:
            made += read(data, events=events)
    return made, taken, events


EVENT_DATA = st.one_of(
    st.sampled_from([TOKEN, FINAL, "[DONE]", "{", "", '{"type":"error","content":"x"}', '{"type":"tool_call"}']),
    st.text(max_size=8).map(lambda text: json.dumps({"type": "assistant_message", "token": text})),
    st.text(max_size=8).map(lambda text: f'{{"token":"{text}","type":"assistant_message"}}'),
)


@given(st.lists(EVENT_DATA, max_size=8), st.lists(st.booleans(), min_size=8, max_size=8))
def test_the_short_way_of_a_lone_token_gives_what_the_long_one_gives(datas, willing):
    moods = iter(willing)
    made, _, events = tokens_by_either_way(*datas, takes=lambda frame: next(moods))
    long_way = reader()
    assert made == read(*datas, events=long_way)
    assert (events.tokens, events.late, events.skipped) == (long_way.tokens, long_way.late, long_way.skipped)


def test_only_tokens_go_the_short_way():
    datas = [TOKEN, '{"type":"tool_call"}', '{"type":"assistant_message","token":"é"}', FINAL, TOKEN]
    made, taken, _ = tokens_by_either_way(*datas)
    assert taken == 2
    assert brief(made) == [token("a"), {"type": "tool_call"}, token("é"), final()]


def test_answer_that_is_too_long_is_refused_by_the_short_way_too():
    with pytest.raises(UpstreamProtocol):
        tokens_by_either_way(TOKEN, TOKEN, max_turn_bytes=2 * len(TOKEN) - 1)
    assert tokens_by_either_way(TOKEN, TOKEN, max_turn_bytes=2 * len(TOKEN))[1] == 2


NO_WORDS = "The agent could not answer this message."


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
        '{"is_final":true}',
        '{"type":null,"token":"a"}',
        '{"type":5}',
        '{"type":["tool_call"]}',
        '{"type":"assistant_message"}',
        '{"type":"assistant_message","is_final":false}',
        '{"type":"assistant_message","token":null,"is_final":false}',
        '{"type":"assistant_message","token":5,"is_final":false}',
        '{"type":"assistant_message","token":"a","is_final":"false"}',
        '{"type":"assistant_message","token":"a","is_final":1}',
        '{"type":"assistant_message","token":"a","is_final":null}',
        '{"type":"assistant_message","token":"","is_final":true,"finish_reason":5}',
        '{"type":"assistant_message","token":"\\ud83d","is_final":0}',
        '{"type":"error","content":5}',
        '{"type":"error","content":null}',
        '{"type":"error","content":["words"]}',
        '{"type":"tool_call","x":NaN}',
        '{"type":"tool_call","x":1e999}',
        '{"type":"tool_call"}{"type":"tool_call"}',
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
kinds = st.sampled_from(["assistant_message", "error", "tool_call", "ping"])
fields = st.fixed_dictionaries(
    {}, optional={"type": kinds | any_json, "token": any_json, "is_final": any_json, "content": any_json}
)
datas = st.lists(st.text() | any_json.map(json.dumps) | fields.map(json.dumps) | st.sampled_from([TOKEN, "[DONE]"]))


@given(datas)
def test_whatever_the_agent_says_at_most_one_end_comes_and_it_comes_last(said):
    events = reader()
    frames = read(*said, events=events)
    assert all(not frame.is_terminal for frame in frames[:-1])
    assert events.is_over is bool(frames and frames[-1].is_terminal)
    for frame in frames:
        assert json.loads(frame.v1)["turn_id"] == "T"
