"""The events that the tests of resumed responses use are those of OpenAI's own types."""

from __future__ import annotations

import json
import subprocess

from tests.agents import kinds
from tests.unit.agent.test_rejoining_protocols import RECORDED

NO_TOOLS = {"tools": [], "tool_choice": "auto"}  # the recorded server leaves them out


def test_the_recorded_events_are_openais():
    events = [{**event, "sequence_number": number} for number, event in enumerate(RECORDED)]
    for event in events:
        if "response" in event:
            event["response"] = {**NO_TOOLS, **event["response"]}
    assert len(events) > 5
    assert unfit(events) == ""
    assert "response.output_text.delta" in unfit([{**event, "delta": None} for event in events])


def unfit(events):
    """The words about events that do not fit."""
    program = [str(kinds.PYTHON), str(kinds.PROGRAMS / "check_responses.py")]
    return subprocess.run(program, input=json.dumps(events), capture_output=True, text=True, check=True).stdout
