"""JSON text that may hold half a character: strict to read, and nothing is harmed on the way."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.protocol import json_text

any_text = st.text(alphabet=st.characters() | st.characters(categories=["Cs"]) | st.sampled_from('\ud83d\ude00"\\'))
any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=10,
)


@given(any_json)
def test_what_is_written_is_read_again(value):
    assert json_text.decode(json_text.encode(value)) == value


@given(any_json)
def test_what_is_written_is_utf_8_and_one_line_that_any_parser_reads(value):
    text = json_text.encode(value)
    assert "\n" not in text
    assert json.loads(text.encode()) == value


@given(st.lists(any_text, max_size=5))
def test_pieces_of_strings_may_be_joined_like_the_strings(texts):
    """As JavaScript joins them: in UTF-16 units, so two halves become one character."""
    joined = json.loads('"' + "".join(json_text.encode_string(text) for text in texts) + '"')
    assert _utf_16(joined) == _utf_16("".join(texts))


def _utf_16(text):
    return text.encode("utf-16-le", "surrogatepass")


def test_half_characters_of_two_strings_recombine():
    assert json.loads('"' + json_text.encode_string("\ud83d") + json_text.encode_string("\ude00") + '"') == "😀"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":[1,2.5,null,true]}', {"a": [1, 2.5, None, True]}),
        (b'{"a":1}', {"a": 1}),
        ('"\\ud83d\\ude00"', "😀"),
        ('"\\ud83d"', "\ud83d"),
        ('"\\UD83D"', None),
        (b'"\\uDE00"', "\ude00"),
        ('{"\\ud83d":1.5}', {"\ud83d": 1.5}),
        ('{"a":1,"a":2}', {"a": 2}),
        ('["\\ud83d",1e308]', ["\ud83d", 1e308]),
    ],
)
def test_decode(text, value):
    if value is None:
        with pytest.raises(ValueError):
            json_text.decode(text)
    else:
        assert json_text.decode(text) == value


@pytest.mark.parametrize("tail", ["", '"\\ud83d"'], ids=["plain", "with half a character"])
@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "01", "1.", "'a'", "x", "[" * 5_000]
)
def test_decode_refuses_what_is_not_json(text, tail):
    with pytest.raises(ValueError):
        json_text.decode(f"[{text},{tail}]" if tail else text)


@pytest.mark.parametrize(
    "text", [b"\xff", b'"\xed\xa0\xbd"', b'{"a":"\\ud83d","b":"\xff"}', '"\ud83d"', "", b"", "\ufeff1"]
)
def test_decode_refuses_what_is_not_utf_8(text):
    with pytest.raises(ValueError):
        json_text.decode(text)


def test_decode_refuses_deep_nesting_also_beside_half_a_character():
    for head in ("", '"\\ud83d",'):
        with pytest.raises(ValueError):
            json_text.decode(f"[{head}" + "[" * 10_000 + "]" * 10_001)


def test_encode_is_compact_and_keeps_characters_that_are_whole():
    assert json_text.encode({"a": [1, "é😀"]}) == '{"a":[1,"é😀"]}'
    assert json_text.encode({"a": [1, "\ud83d"]}) == '{"a":[1,"\\ud83d"]}'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":[1,2.5,null,true]}', {"a": [1, 2.5, None, True]}),
        ('["\\ud83d"]', ["\ud83d"]),
        ('["\\ud83d",1e999]', ["\ud83d", None]),
        ("[NaN,Infinity,-Infinity,1e999,-1e999,1]", [None, None, None, None, None, 1]),
        (f"[{'9' * 309}]", [int("9" * 309)]),
        (f"[{'9' * 5_000},-{'9' * 5_000},2]", [None, None, 2]),
    ],
)
def test_decode_leniently_loses_only_numbers_that_are_none(text, value):
    assert json_text.decode_leniently(text) == value
    assert json.loads(json_text.encode(json_text.decode_leniently(text))) == value


@pytest.mark.parametrize("text", ["", "x", "'a'", "nan", "[1,]", "{a:1}", "NaN" + "[" * 20_000, '"\x01"', "1 2"])
def test_decode_leniently_refuses_what_is_not_json(text):
    with pytest.raises(ValueError):
        json_text.decode_leniently(text)


def test_an_integer_is_read_up_to_as_many_digits_as_javascript_holds():
    assert json_text._int_or_none("1" + 308 * "0") == 10**308
    assert json_text._int_or_none("1" + 309 * "0") is None
