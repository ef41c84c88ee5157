"""How long a turn took, by the clock."""

from types import SimpleNamespace

import pytest

from relay.layers.values import Turn
from relay.protocol import frames
from relay.turns import recorder as recorders
from relay.turns.recorder import TurnRecorder


def test_a_turn_takes_from_its_claim_to_its_end(monkeypatch):
    times = iter([100.0, 103.0, 107.5])
    monkeypatch.setattr(recorders, "time", SimpleNamespace(monotonic=lambda: next(times)))
    recorder = TurnRecorder(Turn("s", "t", "lease", {"type": "user_message"}))
    recorder.appended(1)
    recorder.finish(frames.final("t"))
    assert (recorder.first_token_seconds, recorder.duration_seconds) == (3.0, pytest.approx(7.5))
    assert (recorder.reason, recorder.tokens) == ("answered", 1)
