"""What the store keeps of a frame is the frame: viewers get the same from a worker's append as from the log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.exceptions import RateLimited
from relay.layers.redis.frames import SEPARATOR, decode, encode
from relay.protocol import frames

TEXTS = ["", "a", "😀", "\ud83d", '"\\', "\n\x00\x1e\x1f\x7f", "\u2028"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(
    "make",
    [
        lambda text: frames.token("turn", text),
        lambda text: frames.event("turn", {"type": "tool_call", text: text, "offset": 7}),
        lambda text: frames.notice("turn", "code", text),
        lambda text: frames.final("turn", text),
        lambda text: frames.error("turn", RateLimited(1.5)),
    ],
    ids=["token", "event", "notice", "final", "error"],
)
def test_a_frame_comes_back_as_it_was(make, text):
    frame = make(text)
    kept = encode(frame).encode()
    frame.offset = 5
    assert SEPARATOR not in kept
    assert decode(kept, 5) == frame


def test_the_store_names_each_kind_as_it_did_before():
    """Workers of two versions share a store while they are restarted one after another."""
    body, members = '{"type":"x"}', '"code":"y"'
    kinds = [decode(f"{digit}turn\n{members}\n{body}".encode(), 1).kind.name for digit in range(1, 7)]
    assert kinds == ["USER_MESSAGE", "TOKEN", "EVENT", "NOTICE", "FINAL", "ERROR"]


@given(st.text(alphabet=st.characters(codec=None, exclude_categories=[])))
def test_a_token_of_any_characters_comes_back_as_it_was(text):
    frame = frames.token("turn", text)
    kept = encode(frame).encode()
    frame.offset = 1
    assert SEPARATOR not in kept
    assert decode(kept, 1) == frame
