"""The cursor in a query."""

from relay.protocol.cursor import query_cursor


def test_the_querys_parameters():
    assert query_cursor({}) == ("", "")
    assert query_cursor({"epoch": "E", "offset": "5", "other": "x"}) == ("E", "5")
    assert query_cursor({"offset": ""}) == ("", "")
