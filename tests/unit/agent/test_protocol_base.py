"""What every protocol's reader shares."""

import pytest

from relay.agent.protocols.base import MAX_ID_CHARACTERS, AnswerReader, json_value, path_segment
from tests.unit.agent.vectors import brief, error


class Reader(AnswerReader):
    """Passes everything on."""

    def _read(self, event, made):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"type": "status", "x": [1]}, [{"type": "status", "x": [1]}]),
        ({"type": "finish", "is_final": True, "token": ""}, [{"type": "finish", "token": ""}]),
        ({"type": "", "turn_id": "X", "offset": 7}, [{"type": ""}]),
        ({"type": "error", "message": "no"}, [error("no")]),
    ],
)
def test_an_object_with_a_type_of_its_own_passes_whole(value, expected):
    reader, made = Reader("T", max_turn_bytes=1_000, redact=str), []
    reader._pass_on(value, made)
    assert brief(made) == expected


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ({"type": "assistant_message", "token": "a", "is_final": True}, "reserved"),
        ({"type": "ping"}, "reserved"),
        ({"type": 5}, "malformed"),
        ({"token": "a"}, "malformed"),
        ([{"type": "a"}], "malformed"),
        ("type", "malformed"),
        (None, "malformed"),
    ],
)
def test_what_could_be_taken_for_the_gateways_own_is_skipped(value, cause):
    reader, made = Reader("T", max_turn_bytes=1_000, redact=str), []
    reader._pass_on(value, made)
    assert [frame["type"] for frame in brief(made)] == ["notice"]
    assert reader.skipped[cause] == 1


@pytest.mark.parametrize(
    ("data", "expected"),
    [('{"a":NaN}', {"a": None}), ("null", None), ("[DONE]", "[DONE]"), ("[" * 10_000, "[" * 10_000)],
)
def test_data_is_json_or_a_text(data, expected):
    assert json_value(data) == expected


@pytest.mark.parametrize(
    ("agent_id", "segment"),
    [
        ("run-1", "run-1"),
        ("../../x?y", "..%2F..%2Fx%3Fy"),
        ("a\r\nX: y", "a%0D%0AX%3A%20y"),
        ("i" * MAX_ID_CHARACTERS, "i" * MAX_ID_CHARACTERS),
        ("i" * (MAX_ID_CHARACTERS + 1), ""),
        ("..", ""),
        (".", ""),
        ("\ud800", ""),
    ],
)
def test_an_id_in_a_path_is_one_segment_or_none(agent_id, segment):
    assert path_segment(agent_id) == segment
