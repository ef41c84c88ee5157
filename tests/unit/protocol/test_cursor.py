"""The cursor in a query, and the form of its two parts."""

import pytest

from relay.protocol.cursor import is_epoch, parse_offset, query_cursor


def test_the_querys_parameters():
    assert query_cursor({}) == ("", "")
    assert query_cursor({"epoch": "E", "offset": "5", "other": "x"}) == ("E", "5")
    assert query_cursor({"offset": ""}) == ("", "")


@pytest.mark.parametrize("text", ["E", "0aF9", "a" * 32])
def test_a_text_with_an_epochs_form(text):
    assert is_epoch(text)


@pytest.mark.parametrize("text", ["", "an epoch", "a-b", "E\n", "é", "a" * 33])
def test_a_text_without_it(text):
    assert not is_epoch(text)


@pytest.mark.parametrize(
    ("text", "offset"),
    [("0", 0), ("17", 17), ("9" * 15, 10**15 - 1), ("9" * 16, None), ("", None), ("-1", None), ("1.5", None)],
)
def test_the_form_of_an_offset(text, offset):
    assert parse_offset(text) == offset
