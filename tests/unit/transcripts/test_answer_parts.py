"""An answer's events beside its text: in order, at their places, bounded, reasoning in one piece."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.protocol import frames, json_text
from relay.transcripts.answer_parts import AnswerParts, events_text


def parts_of(*items, limit=10_000):
    """Texts are tokens, objects are events."""
    parts = AnswerParts(limit)
    for item in items:
        parts.add([frames.token("t", item) if isinstance(item, str) else frames.event("t", item)])
    return parts


def kept(parts):
    return json.loads(events_text("".join(parts.texts), parts.placed_events()))


def reasoning(token):
    return {"type": "reasoning", "token": token}


def test_events_keep_their_order_and_their_places():
    call, result = {"type": "tool_call", "x": [1, None]}, {"type": "tool_result", "result": "ü"}
    parts = parts_of(call, "ab", result, call, "c")
    assert parts.texts == ["ab", "c"]
    assert kept(parts) == [
        {"position": 0, "event": call},
        {"position": 2, "event": result},
        {"position": 2, "event": call},
    ]


def test_notices_are_kept_and_the_frames_that_start_and_end_a_turn_are_not():
    parts = AnswerParts(999)
    notice = frames.notice("t", "upstream_event_skipped", "words")
    parts.add([frames.user_message("t", '{"type":"user_message","content":"x"}'), notice, frames.final("t")])
    assert kept(parts) == [{"position": 0, "event": json.loads(notice.body)}]
    assert parts.texts == []


def test_neighbouring_pieces_of_reasoning_are_one_event():
    parts = parts_of(
        reasoning("a "), reasoning('"b"\\'), "", reasoning("c"), "text", reasoning("d"), {"type": "x"}, reasoning("e")
    )
    assert [item["event"] for item in kept(parts)] == [
        reasoning('a "b"\\c'),
        reasoning("d"),
        {"type": "x"},
        reasoning("e"),
    ]


def test_reasoning_with_other_members_stays_an_event_of_its_own():
    other = {"type": "reasoning", "token": "b", "id": "r"}
    swapped = {"token": "b", "type": "reasoning"}
    assert [item["event"] for item in kept(parts_of(reasoning("a"), other, swapped, reasoning("c")))] == [
        reasoning("a"),
        other,
        swapped,
        reasoning("c"),
    ]


def test_what_has_no_room_is_left_out_and_counted():
    event = {"type": "x", "y": "z" * 20}
    size = len(json_text.encode(event))
    assert len(kept(parts_of(event, event, limit=2 * size))) == 2
    over = parts_of(event, event, limit=2 * size - 1)
    assert (len(kept(over)), over.left_out) == (1, 1)
    small = parts_of(event, {"type": "s"}, limit=size - 1)
    assert ([item["event"] for item in kept(small)], small.left_out) == ([{"type": "s"}], 1)
    assert parts_of(event, limit=0).left_out == 1


def test_long_reasoning_counts_by_its_text():
    parts = parts_of(*[reasoning("0123456789") for _ in range(50)], limit=550)
    assert parts.left_out == 0
    assert kept(parts) == [{"position": 0, "event": reasoning("0123456789" * 50)}]


@pytest.mark.parametrize(
    ("event", "title"),
    [
        ({"type": "session_title", "title": " Paris "}, "Paris"),
        ({"title": "Paris", "type": "session_title"}, "Paris"),
        ({"type": "session_title", "title": 1}, ""),
        ({"type": "session_title"}, ""),
        ({"type": "other", "title": "session_title"}, ""),
    ],
)
def test_the_title_that_the_agent_names_is_known(event, title):
    assert parts_of(event).title == title
    assert parts_of({"type": "session_title", "title": "before"}, event).title == (title or "before")


tokens = st.text(st.sampled_from('a"\\ü😀\n\0'), max_size=4)


@given(st.lists(st.one_of(tokens, st.just({"type": "x"})), max_size=9))
def test_positions_count_code_points(items):
    found, position = [], 0
    for item in items:
        if isinstance(item, str):
            position += len(item)
        else:
            found.append(position)
    assert [item["position"] for item in kept(parts_of(*items))] == found


def test_a_character_in_two_tokens_counts_once():
    event = {"type": "x"}
    parts = parts_of("a\ud83d", event, "\ude00b", event, "\ud83d", event, "c", event)
    assert [item["position"] for item in kept(parts)] == [2, 3, 4, 5]
