"""PROTOCOL's "Common events"."""

import pytest

from relay.agent.protocols import vocabulary


def test_an_event_and_its_members():
    call = {"type": "tool_call", "call_id": "c", "tool_name": "search", "arguments": {"q": 1}}
    assert vocabulary.reasoning("hm") == {"type": "reasoning", "token": "hm"}
    assert vocabulary.tool_call("c", "search", {"q": 1}) == call
    assert vocabulary.tool_call("c", "search", {"q": 1}, requires_approval=True) == {**call, "requires_approval": True}
    assert vocabulary.tool_result("c", None) == {"type": "tool_result", "call_id": "c", "result": None}
    assert vocabulary.tool_result("c", [1], "t") == {
        "type": "tool_result",
        "call_id": "c",
        "tool_name": "t",
        "result": [1],
    }
    assert vocabulary.tool_error("c", "no") == {"type": "tool_result", "call_id": "c", "error": "no"}
    assert vocabulary.message_start("m") == {"type": "message_start", "message_id": "m"}


@pytest.mark.parametrize(("reason", "tool_name"), [("approve", "approve"), ("", "interrupt"), (None, "interrupt")])
def test_an_interrupt_is_a_tool_call_that_requires_approval(reason, tool_name):
    assert vocabulary.interrupt("i", reason, {"message": "May I?"}) == {
        "type": "tool_call",
        "call_id": "i",
        "tool_name": tool_name,
        "arguments": {"message": "May I?"},
        "requires_approval": True,
    }


def test_usage_keeps_numbers_only():
    given = {"input_tokens": 3, "output_tokens": 0, "total_tokens": None, "a": True, "b": -1, "c": "3", "d": 1.5}
    assert vocabulary.usage(**given) == {"type": "usage", "input_tokens": 3, "output_tokens": 0}
    assert vocabulary.usage(input_tokens=None) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"q": [1, null]}', {"q": [1, None]}),
        (' {"q": NaN} ', {"q": None}),
        ("", {}),
        (" \n", {}),
        ("{}{}", "{}{}"),
        ('{"q": ', '{"q": '),
        ("[1]", "[1]"),
        ("null", "null"),
        ("search for it", "search for it"),
        ({"q": 1}, {"q": 1}),
        (None, {}),
        ([1, "é"], '[1,"é"]'),
        (5, "5"),
        pytest.param("[" * 10_000, "[" * 10_000, id="nested"),
    ],
)
def test_arguments_are_an_object_or_the_text(text, expected):
    assert vocabulary.arguments(text) == expected


def test_question_is_about_the_call_that_it_names_or_is_that_call():
    call = {"call_id": "c", "tool_name": "pay", "arguments": {}}
    assert vocabulary.asked_call({"call_id": "i", "tool_call": call}) == call
    assert vocabulary.asked_call({**call, "tool_call": "c"}) == {**call, "tool_call": "c"}


@pytest.mark.parametrize(
    ("events", "total"),
    [
        ([], (None, None)),
        ([{"input_tokens": 5}], (5, None)),
        ([{"input_tokens": 5, "output_tokens": 0}, {"input_tokens": 7, "output_tokens": 2}], (12, 2)),
        ([{"input_tokens": -1, "output_tokens": True}, {"input_tokens": 1.5, "output_tokens": "3"}], (None, None)),
        ([{"input_tokens": vocabulary.MAX_TOKENS, "output_tokens": vocabulary.MAX_TOKENS + 1}], (10**12, None)),
    ],
)
def test_usage_is_added_up(events, total):
    usage = vocabulary.Usage()
    for event in events:
        usage.add(event)
    assert (usage.input_tokens, usage.output_tokens) == total
