"""``make run`` on a fresh copy with a fresh HOME: each thing in its order, an answer, and again without installing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.newcomer import take_path

COLD = (
    "Creating .venv with Python",
    "Installing some 50 packages into .venv, about a minute …",
    "10 of 5",
    "unpacking them",
    "Preparing the database.",
    "Starting the demo agent and the gateway.",
    "listening on http://127.0.0.1:",
    "Open http://127.0.0.1:",
    "/admin/ (a user for it: .venv/bin/python manage.py createsuperuser)",
    "/api/v1/docs",
    "Your own agent",
    "A real model",
    "Ctrl-C stops everything.",
    "(first token)",
    "stopped",
)
AGENT = "listens on http://127.0.0.1:"  # the demo agent starts beside the gateway, so its line has no fixed place
WARM = tuple(words for words in COLD if words not in COLD[:4])


@pytest.mark.timeout(600)
def test_the_first_minute_and_the_second_start(tmp_path: Path):
    for expected, run in zip((COLD, WARM), take_path(tmp_path), strict=True):
        print(f"longest silence before the first token: {run.silence_seconds:.1f} s\n{run.output()}")
        places = [next((i for i, seen in enumerate(run.seen) if words in seen.words), None) for words in expected]
        assert None not in places, (expected[places.index(None)], run.output())
        assert places == sorted(places), run.output()
        assert AGENT in run.output()
        assert '"level": "debug"' not in run.output()
        assert "Traceback" not in run.output()
    assert not any("Installing" in seen.words for seen in run.seen)
