"""The record of a turn: its time by the clock, the tokens that it used, and why it failed."""

from types import SimpleNamespace

import pytest

from relay.agent.failures import Evidence
from relay.agent.protocols.vocabulary import Usage
from relay.exceptions import ShuttingDown
from relay.layers.values import Accepted, Turn
from relay.protocol import frames
from relay.turns import recorder as recorders
from relay.turns.recorder import TurnRecorder, ended_turn, message_accepted
from tests import scraping


def a_recorder():
    return TurnRecorder(Turn("s", "t", "lease", {"type": "user_message"}))


def test_a_turn_takes_from_its_claim_to_its_end(monkeypatch):
    times = iter([100.0, 103.0, 107.5])
    monkeypatch.setattr(recorders, "time", SimpleNamespace(monotonic=lambda: next(times)))
    recorder = a_recorder()
    recorder.appended(1)
    recorder.finish(frames.final("t"))
    assert (recorder.first_token_seconds, recorder.duration_seconds) == (3.0, pytest.approx(7.5))
    assert (recorder.reason, recorder.tokens) == ("answered", 1)


@pytest.mark.parametrize(("usage", "counted"), [(Usage(), (0, 0)), (Usage(3, 5), (3, 5)), (Usage(0, 7), (0, 7))])
def test_only_the_tokens_that_an_agent_says_it_has_used_are_counted(usage, counted):
    before = scraping.here()
    recorder = a_recorder()
    recorder.usage = usage
    recorder.finish(frames.final("t"))
    change = scraping.here().since(before)
    assert tuple(change[f'gateway_usage_tokens_total{{kind="{kind}"}}'] for kind in ("input", "output")) == counted


@pytest.mark.parametrize(
    ("evidence", "error"),
    [
        (Evidence(), ShuttingDown.sentence),
        (Evidence(cause="OSError"), f"{ShuttingDown.sentence} (OSError)"),
        (Evidence(words="no such model", cause="OSError"), "no such model (OSError)"),
        (Evidence(words="no such model"), "no such model"),
    ],
)
def test_an_error_is_the_agents_words_or_the_clients_and_its_cause(evidence, error):
    recorder = a_recorder()
    recorder.evidence = evidence
    recorder.finish(frames.error("t", ShuttingDown()))
    assert (recorder.error, recorder.reason) == (error, "shutting_down")


def test_an_answered_turn_has_no_error():
    recorder = a_recorder()
    recorder.evidence = Evidence(status=200, words="hello", cause="OSError")
    recorder.finish(frames.final("t"))
    ended = ended_turn(recorder)
    assert (recorder.error, ended.error, ended.upstream_status) == ("", "", None)


@pytest.mark.parametrize(
    ("position", "duplicate", "observed"),
    [(0, False, (1, 0)), (None, False, (1, 0)), (3, False, (1, 3)), (3, True, (0, 0))],
)
def test_how_many_wait_is_observed_once_for_a_message(position, duplicate, observed):
    before = scraping.here()
    message_accepted("s", Accepted("t", position, "queued", duplicate))
    change = scraping.here().since(before)
    assert (change["gateway_queue_depth_turns_count"], change["gateway_queue_depth_turns_sum"]) == observed


def test_of_long_words_the_first_200_characters_are_kept(monkeypatch):
    monkeypatch.setattr(ShuttingDown, "sentence", "x" * 300)
    recorder = a_recorder()
    recorder.finish(frames.error("t", ShuttingDown()))
    assert recorder.error == "x" * 200
