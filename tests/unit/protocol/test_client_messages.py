"""What clients may say, and every way to say it wrongly."""

import contextlib

import pytest

from relay.exceptions import ClientMessageInvalid, ClientMessageTooLarge
from relay.protocol import json_text
from relay.protocol.client_messages import (
    Cancel,
    OnBusy,
    ReadHistory,
    StartTurn,
    is_session_id,
    parse_client_message,
    parse_turn,
)

MAX_BYTES = 200_000


def parse(text, *, forward_types=frozenset(), max_message_bytes=MAX_BYTES, resumable=True):
    return parse_client_message(
        text, forward_types=forward_types, max_message_bytes=max_message_bytes, resumable=resumable
    )


def said(content, **options):
    return StartTurn(
        {"type": "user_message", "content": content},
        options.get("client_message_id"),
        options.get("on_busy", OnBusy.ENQUEUE),
    )


def nested(depth):
    return "[" * depth + "]" * depth


def test_user_message_says_which_turn_it_replaces_to_resumable_clients_only():
    text = '{"type":"user_message","content":"a","replaces":"t1"}'
    assert parse(text).message == {"type": "user_message", "content": "a", "replaces": "t1"}
    assert parse(text, resumable=False) == said("a")
    assert parse('{"type":"user_message","content":"a","replaces":null}') == said("a")


@pytest.mark.parametrize("replaces", ['""', "5", "{}", f'"{"t" * 129}"'])
def test_turn_that_is_replaced_has_a_valid_name(replaces):
    with pytest.raises(ClientMessageInvalid):
        parse(f'{{"type":"user_message","content":"a","replaces":{replaces}}}')


@pytest.mark.parametrize("resumable", [True, False], ids=["v1", "plain"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "hello",
        "{",
        '{"type":"user_message","content":"a"',
        '{"type":"user_message","content":"a"}}',
        "{'type':'cancel'}",
        '{"type":"cancel",}',
        '\ufeff{"type":"cancel"}',
        "null",
        "true",
        "5",
        '"user_message"',
        "[]",
        '[{"type":"cancel"}]',
        "{}",
        '{"content":"a"}',
        '{"type":null,"content":"a"}',
        '{"type":5,"content":"a"}',
        '{"type":["user_message"],"content":"a"}',
        '{"type":{"a":1},"content":"a"}',
        '{"type":"","content":"a"}',
        '{"type":"User_Message","content":"a"}',
        '{"type":"assistant_message","token":"a","is_final":false}',
        '{"type":"ping"}',
        '{"type":"user_message"}',
        '{"type":"user_message","content":null}',
        '{"type":"user_message","content":5}',
        '{"type":"user_message","content":["a"]}',
        '{"type":"user_message","content":{"a":"b"}}',
        '{"type":"user_message","content":"a","x":NaN}',
        '{"type":"user_message","content":"a","x":Infinity}',
        '{"type":"user_message","content":"a","x":-Infinity}',
        '{"type":"user_message","content":"a","x":1e999}',
        '{"type":"user_message","content":"\\ud83d","x":NaN}',
        '{"type":"user_message","content":"\\ud83d","x":-1e999}',
        '{"type":"user_message","content":"\\ud83d"',
        '{"type":"user_message","content":"\\x"}',
        '{"type":"user_message","content":"a\nb"}',
        '{"type":"user_message","content":"\ud83d"}',
        pytest.param(nested(10_000), id="nested"),
        pytest.param('{"type":"user_message","content":"a","x":' + nested(10_000) + "}", id="nested field"),
        pytest.param('{"type":"user_message","content":"\\ud83d","x":' + nested(10_000) + "}", id="nested half"),
        pytest.param("[" * 100_000, id="only brackets"),
    ],
)
def test_a_frame_that_is_no_message_is_invalid(text, resumable):
    with pytest.raises(ClientMessageInvalid) as error:
        parse(text, resumable=resumable)
    assert str(error.value) == "Invalid JSON message"
    assert error.value.code == "bad_request"


@pytest.mark.parametrize("resumable", [True, False], ids=["v1", "plain"])
@pytest.mark.parametrize(
    ("text", "content"),
    [
        ('{"type":"user_message","content":"hi"}', "hi"),
        (' \n{ "content" : "hi" , "type" : "user_message" }\t', "hi"),
        ('{"type":"user_message","content":""}', ""),
        ('{"type":"user_message","content":"é😀\\u0000\\n\\""}', 'é😀\x00\n"'),
        ('{"type":"user_message","content":"\\ud83d\\ude00"}', "😀"),
        ('{"type":"user_message","content":"\\ud83d"}', "\ud83d"),
        ('{"type":"user_message","content":"a \\\\ud83d"}', "a \\ud83d"),
        ('{"type":"user_message","content":"first","content":"last"}', "last"),
        ('{"type":"cancel","type":"user_message","content":"hi"}', "hi"),
        ('{"type":"user_message","content":"hi","extra":{"a":[1]},"session_id":"x","offset":5}', "hi"),
    ],
)
def test_a_user_message_gives_its_content_and_drops_what_it_does_not_know(text, content, resumable):
    assert parse(text, resumable=resumable) == said(content)


# What only gateway.v1 knows.


@pytest.mark.parametrize("name", ["a", "A-Z_0:9", "0", "a" * 128])
def test_a_client_message_id_of_128_plain_characters_is_taken(name):
    text = json_text.encode({"type": "user_message", "content": "hi", "client_message_id": name})
    assert parse(text) == said("hi", client_message_id=name)


@pytest.mark.parametrize(
    "name", ["", "a" * 129, "a b", "a\n", "\na", "é", "a.b", "a/b", "\x00", 5, True, [], {}, ["a"]]
)
def test_any_other_client_message_id_is_invalid(name):
    text = json_text.encode({"type": "user_message", "content": "hi", "client_message_id": name})
    with pytest.raises(ClientMessageInvalid):
        parse(text)
    assert parse(text, resumable=False) == said("hi")


def test_a_client_message_id_of_null_is_none():
    assert parse('{"type":"user_message","content":"hi","client_message_id":null}') == said("hi")


@pytest.mark.parametrize("on_busy", OnBusy)
def test_on_busy_is_one_of_three_words(on_busy):
    text = json_text.encode({"type": "user_message", "content": "hi", "on_busy": on_busy.value})
    assert parse(text) == said("hi", on_busy=on_busy)
    assert parse(text, resumable=False) == said("hi")


@pytest.mark.parametrize("on_busy", ["", "Reject", "wait", None, 1, [], {}])
def test_any_other_on_busy_is_invalid(on_busy):
    text = json_text.encode({"type": "user_message", "content": "hi", "on_busy": on_busy})
    with pytest.raises(ClientMessageInvalid):
        parse(text)
    assert parse(text, resumable=False) == said("hi")


@pytest.mark.parametrize(
    ("text", "v1", "plain"),
    [
        ('{"type":"cancel"}', Cancel(), Cancel()),
        ('{"type":"cancel","turn_id":null}', Cancel(), Cancel()),
        ('{"type":"cancel","turn_id":"t"}', Cancel("t"), Cancel()),
        ('{"type":"cancel","turn_id":"","content":5}', Cancel(""), Cancel()),
    ],
)
def test_cancel_names_a_turn_only_in_v1(text, v1, plain):
    assert parse(text) == v1
    assert parse(text, resumable=False) == plain


@pytest.mark.parametrize("turn_id", ["5", "[]", "{}", "true"])
def test_cancel_with_a_turn_id_that_is_no_text_is_invalid_in_v1(turn_id):
    text = f'{{"type":"cancel","turn_id":{turn_id}}}'
    with pytest.raises(ClientMessageInvalid):
        parse(text)
    assert parse(text, resumable=False) == Cancel()


def test_a_page_of_the_history_is_asked_for_in_v1_only():
    assert parse('{"type":"history"}') == ReadHistory("", 50, None)
    text = '{"type":"history","before":"t1","limit":1000,"client_message_id":"h"}'
    assert parse(text) == ReadHistory("t1", 1_000, "h")
    with pytest.raises(ClientMessageInvalid):
        parse(text, resumable=False)
    assert isinstance(parse(text, forward_types=frozenset(["history"])), StartTurn)


@pytest.mark.parametrize(
    "fields",
    [
        '"limit":0',
        '"limit":1001',
        '"limit":"1"',
        '"limit":null',
        '"before":"a/b"',
        '"before":"a\\n"',
        '"client_message_id":""',
    ],
)
def test_a_wrong_request_for_a_page_is_invalid(fields):
    with pytest.raises(ClientMessageInvalid):
        parse(f'{{"type":"history",{fields}}}')


# Forwarded kinds.

FORWARDED = frozenset(["tool_result"])


@pytest.mark.parametrize("resumable", [True, False], ids=["v1", "plain"])
def test_a_forwarded_kind_is_kept_whole_less_what_is_the_gateways(resumable):
    fields = {"type": "tool_result", "content": {"a": [1, None]}, "turn_id": "x", "token": "\ud83d"}
    text = json_text.encode({**fields, "client_message_id": "one", "on_busy": "reject"})
    message = parse(text, forward_types=FORWARDED, resumable=resumable)
    expected = ("one", OnBusy.REJECT) if resumable else (None, OnBusy.ENQUEUE)
    assert message == StartTurn(fields, *expected)


def test_a_forwarded_kind_needs_no_content():
    assert parse('{"type":"tool_result"}', forward_types=FORWARDED).message == {"type": "tool_result"}


@pytest.mark.parametrize("kind", ["hitl_decision", "tool_result ", "TOOL_RESULT"])
def test_a_kind_that_is_not_named_is_not_forwarded(kind):
    with pytest.raises(ClientMessageInvalid):
        parse(json_text.encode({"type": kind}), forward_types=FORWARDED)


def test_a_forwarded_kinds_client_message_id_must_be_valid_in_v1():
    with pytest.raises(ClientMessageInvalid):
        parse('{"type":"tool_result","client_message_id":"a b"}', forward_types=FORWARDED)


def test_a_forwarded_kind_may_be_nested_so_deep_and_no_deeper():
    """It is written and read again elsewhere, where less of the stack may be left than here."""

    def at(depth):
        return '{"type":"tool_result","x":' + nested(depth) + "}"

    assert parse(at(99), forward_types=FORWARDED).message["x"]
    with pytest.raises(ClientMessageInvalid):
        parse(at(100), forward_types=FORWARDED)
    with pytest.raises(ClientMessageInvalid):
        parse(at(900), forward_types=FORWARDED)


# Further fields of a user_message.


@pytest.mark.parametrize("resumable", [True, False], ids=["v1", "plain"])
def test_further_fields_that_are_named_are_kept_in_the_clients_order(resumable):
    text = '{"b":[1],"type":"user_message","x":1,"content":"hi","a":null}'
    fields = frozenset(["a", "b", "c"])
    message = parse_client_message(
        text, forward_types=frozenset(), max_message_bytes=MAX_BYTES, resumable=resumable, message_fields=fields
    ).message
    assert json_text.encode(message) == '{"type":"user_message","content":"hi","b":[1],"a":null}'


def test_further_fields_may_be_nested_so_deep_and_no_deeper():
    for depth, fits in ((99, True), (100, False)):
        fields = {"type": "user_message", "content": "hi", "x": json_text.decode(nested(depth))}
        with contextlib.nullcontext() if fits else pytest.raises(ClientMessageInvalid):
            turn = parse_turn(fields, forward_types=frozenset(), message_fields=frozenset(["x"]))
            assert turn.message == fields


# Sizes.


@pytest.mark.parametrize("character", ["a", "é", "…", "😀"])
def test_the_size_limit_counts_utf_8_bytes(character):
    text = json_text.encode({"type": "user_message", "content": character * 100})
    size = len(text.encode())
    assert parse(text, max_message_bytes=size) == said(character * 100)
    with pytest.raises(ClientMessageTooLarge) as error:
        parse(text, max_message_bytes=size - 1)
    assert error.value.code == "message_too_large"
    assert f"{size - 1:,} bytes" in str(error.value)


def test_a_frame_that_is_too_large_is_not_even_parsed():
    with pytest.raises(ClientMessageTooLarge):
        parse("not json" * 100, max_message_bytes=100)


# Names of sessions.


@pytest.mark.parametrize("name", ["a", "0", "a" * 128, "user:5@example.com", "a_b-c~d", "...", ".a", "a.", "..a"])
def test_a_session_id(name):
    assert is_session_id(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "./", "../", "a" * 129, "a/b", "a b", "a\n", "é", "%41", "a?", "a#", "\x00"]
)
def test_what_is_no_session_id(name):
    assert not is_session_id(name)


def test_a_message_that_is_decoded_already_starts_a_turn():
    fields = {"type": "user_message", "content": "hi", "client_message_id": "m"}
    turn = parse_turn(fields, forward_types=frozenset())
    assert (turn.message, turn.client_message_id) == ({"type": "user_message", "content": "hi"}, "m")
    assert parse_turn({"type": "x"}, forward_types=frozenset({"x"})).message == {"type": "x"}


@pytest.mark.parametrize("fields", [{}, {"type": "cancel"}, {"type": "x"}, {"type": "user_message", "content": 7}])
def test_what_starts_no_turn_is_invalid(fields):
    with pytest.raises(ClientMessageInvalid):
        parse_turn(fields, forward_types=frozenset())
