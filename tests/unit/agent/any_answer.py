"""Answers that no agent would give, and what holds for them whatever the protocol."""

import json

from hypothesis import strategies as st

from relay.protocol.event_stream import Event
from relay.protocol.frames import FrameKind
from tests.unit.agent import vectors

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def objects(**members):
    """Objects with some of the members; each has values of its own strategy, or any."""
    return st.fixed_dictionaries({}, optional={name: values | any_json for name, values in members.items()})


def answers(*fields):
    """Lists of events: of these objects, of any JSON and of any text."""
    datas = st.one_of(*fields, any_json).map(json.dumps) | st.sampled_from(["[DONE]", "{", "[DONE"]) | st.text()
    names = st.sampled_from(["", "", "", "message", "error", "done"])
    return st.lists(st.builds(Event, datas, names, st.just("")))


def check_one_end_at_most(protocol, events):
    """At most one end comes, it comes last, and no other frame could be taken for it."""
    reader = vectors.reader(protocol)
    made = [frame for event in events for frame in reader.frames([event])]
    assert all(not frame.is_terminal for frame in made[:-1])
    assert reader.is_over is bool(made and made[-1].is_terminal)
    assert reader.tokens == sum(frame.kind is FrameKind.TOKEN and frame.token_text != "" for frame in made)
    for frame, fields in zip(made, vectors.brief(made), strict=True):
        assert frame.kind in (FrameKind.TOKEN, FrameKind.FINAL) or "is_final" not in fields
    assert vectors.brief(vectors.reader(protocol).frames(events)) == vectors.brief(made)


def check_no_cut_changes_the_frames(protocol, datas, draw):
    """An answer of these events has the same frames, wherever it is cut."""
    check_no_cut_of_a_body_changes_the_frames(protocol, "".join(f"data: {data}\n\n" for data in datas).encode(), draw)


def check_no_cut_of_a_body_changes_the_frames(protocol, body, draw):
    """An answer with this body has the same frames, wherever it is cut."""
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(body)), max_size=5)))
    chunks = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert vectors.brief(vectors.answer(protocol, chunks)) == vectors.brief(vectors.answer(protocol, [body]))
