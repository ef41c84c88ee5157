"""The header ``traceparent``, by the W3C's rules."""

import pytest

from relay.protocol.trace_context import trace_id, traceparent

VALID = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_valid_one_is_taken_as_it_is():
    assert traceparent(VALID) == VALID
    assert trace_id(VALID) == "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    "shown",
    [
        None,
        "",
        "x",
        VALID.upper(),
        VALID + "-00",
        VALID + "\n",
        "ff" + VALID[2:],
        VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        VALID.replace("00f067aa0ba902b7", "0" * 16),
        VALID.replace("4bf9", "4bf"),
    ],
)
def test_another_counts_as_absent(shown):
    assert traceparent(shown) is None
