"""The cursor in a query, and the form of its two parts."""

import pytest

from relay.protocol.cursor import is_epoch, parse_offset, query_cursor


def test_the_querys_parameters():
    assert query_cursor({}) == ("", "")
    assert query_cursor({"epoch": "E", "offset": "5", "other": "x"}) == ("E", "5")
    assert query_cursor({"offset": ""}) == ("", "")


@pytest.mark.parametrize(
    ("text", "is_one"), [("E", True), ("0af-9", True), ("", False), ("an epoch", False), ("E\n", False)]
)
def test_the_form_of_an_epoch(text, is_one):
    assert is_epoch(text) is is_one


@pytest.mark.parametrize(
    ("text", "offset"), [("0", 0), ("17", 17), ("", None), ("-1", None), ("1.5", None), ("x", None)]
)
def test_the_form_of_an_offset(text, offset):
    assert parse_offset(text) == offset
