"""The names of a log's lives: random, and in the order of time as text."""

from relay.layers import values
from relay.protocol.cursor import is_epoch


def test_an_epoch_sorts_above_those_that_were_made_before_it(monkeypatch):
    now = [1_700_000_000_000_000_000]
    monkeypatch.setattr(values.time, "time_ns", lambda: now[0])
    epochs = []
    for microseconds in (0, 1, 9, 1_000_000, 86_400_000_000 * 365 * 80):
        now[0] += microseconds * 1_000
        epochs.append(values.new_epoch())
    assert all(is_epoch(epoch) and len(epoch) == 32 for epoch in epochs)
    assert epochs[1:] == sorted(epochs[1:])
    assert epochs[0] > "f" * 32, "above a name of an older version"


def test_two_epochs_of_one_moment_differ(monkeypatch):
    monkeypatch.setattr(values.time, "time_ns", lambda: 0)
    assert values.new_epoch() != values.new_epoch()
