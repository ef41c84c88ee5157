"""The base class for readers of other projects."""

import pytest

from relay.agent.protocols import Event, EventReader
from relay.layers.values import AgentPosition
from tests.unit.agent.vectors import brief

VALUES = {
    "text": ["a", "b"],
    "end in the middle": ["a", {"type": "done", "is_final": True}, "b", {"type": "later"}],
    "own text": [{"type": "assistant_message", "token": "a"}],
    "not understood": [{}],
    "reserved": [{"type": "welcome"}],
    "error": [{"type": "error", "content": "no"}, "b"],
    "number": [7],
}


class Values(EventReader):
    """Adds the values that the event's data names."""

    def read(self, event):
        return VALUES[event.data]


def reader():
    return Values("T", max_turn_bytes=1_000, redact=str)


def read(data, reading=None):
    made = (reading or reader()).frames([Event(data, "", "")])
    return [frame.get("token") or frame.get("finish_reason") or frame["content"] for frame in brief(made)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("text", ["a", "b"]),
        ("own text", ["a"]),
        ("end in the middle", ["a", "stop"]),
        ("not understood", ["An event of the agent could not be understood and was left out."]),
        ("reserved", ["An event of the agent had a type that only the gateway may use and was left out."]),
        ("error", ["no"]),
    ],
)
def test_values_become_frames_up_to_the_first_end(data, expected):
    assert read(data) == expected


def test_another_value_is_an_error_of_the_reader():
    with pytest.raises(TypeError, match="not int"):
        read("number")


def test_it_claims_no_run_that_could_be_rejoined():
    reading = reader()
    reading.may_resume = True
    reading.opened({"x-agent-resume": "1"})
    read("text", reading)
    assert (reading.run, reading.position) == (None, None)
    assert not reader().take_over(AgentPosition("run"), [], is_whole=True)
