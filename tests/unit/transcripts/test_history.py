"""History out of a log and the transcripts: each ended turn once, in order, within bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.exceptions import UpstreamEof
from relay.protocol import frames
from relay.transcripts.history import LogTurns, bounded, join, merge, spoken
from relay.transcripts.kept_turn import Bounds, KeptTurn, Part, offset_of, place_of

ANSWERED, CANCELLED = frames.final("t"), frames.final("t", "cancelled")


def kept(turn_id="t", message="hi", answer="a", reason="answered"):
    return KeptTurn(turn_id=turn_id, message=message, answer=answer, reason=reason)


def read(*log, epoch="", max_event_bytes=0):
    found = LogTurns(epoch, max_event_bytes)
    for frame in reversed(log):
        found.add(frame)
    return found


def log_turns(*log):
    """What an agent is told of a log."""
    return [kept(turn.turn_id, turn.message, turn.answer, turn.reason) for turn in read(*log).turns]


def asked(body='{"type":"user_message","content":"hi","client_message_id":"m"}', turn_id="t"):
    return frames.user_message(turn_id, body)


def test_a_turn_of_the_log_is_its_message_and_its_tokens():
    log = [asked(), frames.token("t", "a \ud83d"), frames.token("t", '\ude00"\n'), ANSWERED]
    assert log_turns(*log) == [kept(answer='a 😀"\n')]


def test_half_a_character_that_a_stop_left_is_replaced():
    """An agent whose parser refuses it would refuse every later message of the session."""
    body = '{"type":"user_message","content":"\\ude00 hi"}'
    assert log_turns(asked(body), frames.token("t", "a \ud83d"), CANCELLED) == [
        kept(message="\ufffd hi", answer="a \ufffd", reason="cancelled")
    ]


def test_events_and_notices_are_no_text():
    log = [asked(), frames.event("t", {"type": "tool_call"}), frames.notice("t", "c", "words"), ANSWERED]
    assert log_turns(*log) == [kept(answer="")]


def test_a_message_of_another_kind_is_its_json():
    (turn,) = log_turns(asked('{"type":"tool_result","x":1,"client_message_id":"m"}'), ANSWERED)
    assert turn.message == '{"type":"tool_result","x":1}'


@pytest.mark.parametrize(
    ("terminal", "reason"),
    [
        (ANSWERED, "answered"),
        (frames.final("t", "length"), "answered"),
        (CANCELLED, "cancelled"),
        (frames.error("t", UpstreamEof()), "upstream_eof"),
    ],
)
def test_how_it_ended(terminal, reason):
    assert log_turns(asked(), frames.token("t", "a"), terminal) == [kept(reason=reason)]


def test_a_turn_without_its_end_or_its_beginning_is_none():
    trimmed = [frames.token("t1", "a"), frames.final("t1")]
    running = [asked(turn_id="t3"), frames.token("t3", "c")]
    whole = [asked(turn_id="t2"), frames.token("t2", "b"), frames.final("t2")]
    assert log_turns(*trimmed, *whole, *running) == [kept("t2", answer="b")]


def test_a_log_that_began_again_within_a_turn_gives_no_half_of_it():
    assert log_turns(frames.final("t0"), asked(turn_id="t1"), frames.token("t2", "b"), frames.final("t2")) == []


turn_numbers = st.integers(0, 12)


@given(total=turn_numbers, trimmed=turn_numbers, behind=turn_numbers, pruned=turn_numbers)
def test_every_turn_that_either_has_is_there_once_and_in_order(total, trimmed, behind, pruned):
    turns = [kept(f"t{number}") for number in range(total)]
    log = turns[min(trimmed, total) :]
    table = turns[pruned : max(total - behind, 0)]
    known = {turn.turn_id for turn in [*log, *table]}
    assert join(log, table) == [turn for turn in turns if turn.turn_id in known]


def test_of_a_turn_that_both_have_the_log_is_believed():
    assert join([kept(answer="whole")], [kept(answer="half")]) == [kept(answer="whole")]


@pytest.mark.parametrize(
    ("answer", "reason", "counts"),
    [
        ("a", "answered", True),
        ("", "answered", True),
        ("a", "cancelled", True),
        ("", "cancelled", False),
        ("a", "upstream_eof", True),
        ("", "upstream_eof", False),
    ],
)
def test_which_turns_an_agent_is_told_of(answer, reason, counts):
    assert bool(spoken([kept(answer=answer, reason=reason)])) is counts


def test_a_turn_at_the_bound_is_whole_and_one_character_over_is_left_out():
    turns = [kept("t1", "12", "345"), kept("t2", "1", "2345")]
    assert bounded(turns, Bounds(9, 10)) == turns
    assert bounded(turns, Bounds(9, 9)) == turns[1:]
    assert bounded(turns, Bounds(9, 4)) == []
    assert bounded(turns, Bounds(2, 99)) == turns
    assert bounded(turns, Bounds(1, 99)) == turns[1:]


def test_behind_a_turn_that_is_too_long_no_older_one_is_taken():
    turns = [kept("t1", "1", "1"), kept("t2", "x" * 50, "x" * 50), kept("t3", "1", "1")]
    assert bounded(turns, Bounds(9, 50)) == turns[2:]


sizes = st.lists(st.integers(1, 9), max_size=9)


@given(sizes, st.integers(0, 9), st.integers(0, 40))
def test_no_more_than_the_bounds_and_nothing_that_had_room_is_missing(sizes, count, characters):
    turns = [kept(f"t{number}", "", "x" * size) for number, size in enumerate(sizes)]
    found = bounded(turns, Bounds(count, characters))
    assert found == turns[len(turns) - len(found) :]
    assert len(found) <= count
    assert sum(turn.characters for turn in found) <= characters
    if len(found) < min(count, len(turns)):
        assert sum(turn.characters for turn in turns[len(turns) - len(found) - 1 :]) > characters


@given(sizes, st.integers(1, 9), st.integers(0, 40))
def test_bounds_are_reached_only_where_an_older_turn_would_be_left_out(sizes, count, characters):
    turns = [kept(f"t{number}", "", "x" * size) for number, size in enumerate(sizes)]
    if Bounds(count, characters).are_reached(turns):
        older = [kept("older", "", "x"), *turns]
        assert kept("older", "", "x") not in bounded(older, Bounds(count, characters))


# Pages for clients.


def numbered(*log):
    for offset, frame in enumerate(log, 1):
        frame.offset = offset
    return log


def test_a_turn_of_the_log_has_its_place_its_end_and_its_events():
    call, answer = {"type": "tool_call", "call_id": "c1"}, {"type": "tool_result", "call_id": "c1", "result": 1}
    log = [
        asked(),
        frames.token("t", "a😀"),
        frames.event("t", call),
        frames.event("t", answer),
        frames.token("t", "b"),
    ]
    (turn,) = read(*numbered(*log, frames.final("t", "length")), epoch="e", max_event_bytes=999).turns
    assert (turn.place, turn.finish_reason, turn.failure) == (place_of("e", 6), "length", "")
    assert turn.fields()["events"] == [{"position": 2, "event": call}, {"position": 2, "event": answer}]


def test_a_failed_turn_says_what_its_client_was_told():
    (turn,) = read(*numbered(asked(), frames.error("t", UpstreamEof()))).turns
    assert turn.fields()["finish_reason"] == "error"
    assert turn.fields()["error"] == {"code": "upstream_eof", "content": str(UpstreamEof())}


def test_the_offset_at_which_the_transcripts_go_on_is_known():
    log = numbered(frames.token("t1", "a"), frames.final("t1"), asked(turn_id="t2"), frames.final("t2"))
    assert read(*log).below == 2, "the end of a turn without its head"
    assert read(*log[2:]).below == 2, "the end of the turn before"
    assert read(log[0]).below is None, "it has not ended"


def test_places_compare_as_texts_and_give_their_offset():
    places = [place_of("a1", 9), place_of("a1", 10), place_of("a1", 10**14), place_of("b0", 1)]
    assert places == sorted(places)
    assert [offset_of(place) for place in places] == [9, 10, 10**14, 1]
    assert (offset_of(""), offset_of("-x"), place_of("", 3)) == (0, 0, "")


def placed(number, answer="a"):
    return KeptTurn(turn_id=f"t{number}", message="", answer=answer, reason="answered", place=place_of("e", number))


@given(
    total=st.integers(0, 12),
    trimmed=turn_numbers,
    behind=turn_numbers,
    limit=st.integers(1, 5),
    cut=st.lists(st.integers(1, 6), min_size=2, max_size=2),
)
def test_pages_give_every_turn_that_either_has_once_and_in_order(total, trimmed, behind, limit, cut):
    """A source may be read less far than it goes; a page never gives a turn behind which another may be missing."""
    sources = [range(min(trimmed, total), total), range(max(total - behind, 0))]
    expected = [placed(number) for number in reversed(range(total)) if any(number in source for source in sources)]
    found, before, has_more = [], None, True
    while has_more:
        parts = []
        for source, most in zip(sources, cut, strict=True):
            turns = [placed(number) for number in reversed(source) if before is None or placed(number).place < before]
            parts.append(Part(turns[:most], len(turns) <= most))
        page, has_more = merge(*parts, Bounds(limit, 99))
        assert len(page) <= limit
        assert page or not has_more
        found += page
        before = page[-1].cursor if page else before
    assert found == expected


def test_a_page_is_bounded_by_its_characters_but_never_empty():
    turns = [placed(3, "x" * 50), placed(2, "x" * 5), placed(1, "x" * 6)]
    assert merge(Part(turns, True), Part([], True), Bounds(9, 10)) == (turns[:1], True)
    assert merge(Part(turns[1:], True), Part([], True), Bounds(9, 10)) == (turns[1:2], True)
    assert merge(Part(turns[1:], True), Part([], True), Bounds(9, 11)) == (turns[1:], False)
