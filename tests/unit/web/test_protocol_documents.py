"""What is written about the protocol is true: its examples, its codes, and the description for programs."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pydantic import TypeAdapter, ValidationError

from relay import exceptions
from relay.agent.protocols.agent import AgentEvents
from relay.delivery.subscription import welcome_fields
from relay.exceptions import RelayError
from relay.layers.values import SessionState
from relay.protocol import frames
from relay.protocol.answers import answers_of
from relay.protocol.client_messages import parse_client_message, parse_turn
from relay.protocol.cursor import Cursor, Resume
from relay.protocol.event_stream import Event
from relay.protocol.frames import CloseCode, Snapshot
from relay.web import asyncapi, frame_schemas, message_schemas

LIMITS = {"max_message_bytes": 1_024, "resumable": True}
ROOT = Path(__file__).resolve().parent.parent.parent.parent
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
NEVER_SENT = {"cancelled", "replay_gap"}  # between our own parts


def examples(kind: str) -> list[str]:
    blocks = re.findall(rf"^```json {re.escape(kind)}\n(.*?)^```", PROTOCOL, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


def is_described(text: str, models: asyncapi.Models) -> bool:
    """Does one of the models know every field of this frame?"""
    for model in models:
        is_agents = model is frame_schemas.AgentEvent
        try:
            TypeAdapter(model).validate_json(text, extra=None if is_agents else "forbid")
        except ValidationError:
            continue
        if not is_agents or json.loads(text)["type"] not in frame_schemas.GATEWAYS_TYPES:
            return True
    return False


@pytest.mark.parametrize("text", examples("v1-out"))
def test_example_of_what_a_v1_client_gets_is_described(text):
    assert is_described(text, asyncapi.V1_OUT)


@pytest.mark.parametrize("text", examples("plain-out"))
def test_example_of_what_a_plain_client_gets_is_described(text):
    assert is_described(text, asyncapi.PLAIN_OUT)


def test_frames_of_the_readme_are_those_of_the_plain_protocol():
    readme = (ROOT / "README.md").read_text()
    said, *told = "".join(re.findall(r"^```json\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)).splitlines()
    parse_client_message(said, forward_types=frozenset(), max_message_bytes=1_024, resumable=False)
    assert told
    assert all(is_described(text, asyncapi.PLAIN_OUT) for text in told)


@pytest.mark.parametrize("text", examples("v1-forwarded"))
def test_example_of_an_answer_is_read(text):
    message = parse_client_message(text, forward_types=frozenset({"tool_result", "hitl_decision"}), **LIMITS)
    assert answers_of(message.message)


@pytest.mark.parametrize(("kind", "models"), [("v1-in", asyncapi.V1_IN), ("plain-in", asyncapi.PLAIN_IN)])
def test_examples_of_what_clients_say_are_understood(kind, models):
    assert examples(kind)
    for text in examples(kind):
        parse_client_message(text, forward_types=frozenset(), max_message_bytes=1_024, resumable=kind == "v1-in")
        assert is_described(text, models)


def test_examples_of_rest_messages_are_understood():
    assert examples("rest-in")
    for text in examples("rest-in"):
        message_schemas.Message.model_validate_json(text, extra="forbid")
        parse_turn({"type": "user_message", **json.loads(text)}, forward_types=frozenset())


def test_example_of_a_page_of_turns_is_described():
    [text] = examples("turns")
    frame_schemas.TurnPage.model_validate_json(text, extra="forbid")


def test_examples_of_the_agents_events_are_an_answer():
    events = AgentEvents("t", max_turn_bytes=1_000, redact=str)
    made = events.frames(Event(text, "", "") for text in examples("agent"))
    assert events.is_over
    assert sum(events.skipped.values()) == 0
    assert len(made) == len(examples("agent"))


@pytest.mark.parametrize("text", examples("agent-last"))
def test_example_of_a_last_event_of_the_agent_ends_the_turn(text):
    assert AgentEvents("T", max_turn_bytes=1_000, redact=str).frames([Event(text, "", "")])[-1].is_terminal


STATE = SessionState(
    session_id="s", epoch="e", oldest=1, newest=3, active_turn_id="t", active_after=0, is_cancelling=True,
    queued=("u",), viewers=1, is_empty=False, idle_seconds=0.0, age_seconds=0.0,
)  # fmt: skip
TOKEN = frames.token("t", "a")
ERROR = frames.error("t", exceptions.Interrupted())


@pytest.mark.parametrize(
    "text",
    [
        frames.user_message("t", '{"type":"user_message","content":"x","client_message_id":"m"}').v1,
        TOKEN.v1,
        frames.merged_tokens([TOKEN, TOKEN]),
        frames.final("t").v1,
        ERROR.v1,
        frames.event("t", {"type": "tool_call", "name": "x"}).v1,
        frames.notice("t", "code", "words").v1,
        Snapshot("e", 0, "epoch_changed").v1,
        Snapshot("e", 3, "trimmed", "t", "text").v1,
        Snapshot("e", 3, "trimmed", "t", "text", ERROR).v1,
        frames.operator_notice("words"),
        frames.v1_refusal(exceptions.QueueFull(), "m"),
        frames.v1_refusal(exceptions.ClientMessageInvalid()),
        frames.disconnect(exceptions.ServerRestart(), CloseCode.SERVER_RESTART, delay_ms=7),
        json.dumps(welcome_fields(STATE, Resume(Cursor("e", 0), recovered=None))),
    ],
)
def test_frame_is_described(text):
    assert is_described(text, asyncapi.V1_OUT)


COMMON = {model.model_fields["type"].annotation.__args__[0]: model for model in asyncapi.COMMON_EVENTS}
OTHER_PROTOCOLS = sorted(
    {*(ROOT / "tests/unit/agent").glob("*_events.json")} - {ROOT / "tests/unit/agent/agent_events.json"}
)


@pytest.mark.parametrize("path", OTHER_PROTOCOLS, ids=lambda path: path.stem)
def test_common_events_have_one_shape_whatever_the_agents_protocol(path):
    """An agent of the gateway's own protocol may shape its events as it likes."""
    made = [frame for vector in json.loads(path.read_text()) for frame in vector["frames"] if frame["type"] in COMMON]
    assert made
    for frame in made:
        COMMON[frame["type"]].model_validate({**frame, "turn_id": "t", "offset": 1}, extra="forbid")


@pytest.mark.parametrize("text", examples("common"))
def test_example_of_a_common_event_is_described(text):
    COMMON[json.loads(text)["type"]].model_validate_json(text, extra="forbid")


def test_every_common_event_has_an_example():
    assert {json.loads(text)["type"] for text in examples("common")} == set(COMMON)


@pytest.mark.parametrize("frame", [TOKEN, frames.final("t"), ERROR], ids=["token", "final", "error"])
def test_plain_frame_is_described(frame):
    assert is_described(frame.plain, asyncapi.PLAIN_OUT)


def test_invented_field_is_not_described():
    assert not is_described('{"type":"ping","epoch":"e","offset":1,"x":1}', asyncapi.V1_OUT)


def test_every_code_is_documented():
    codes = {error.code for error in errors(RelayError)} - NEVER_SENT
    assert {code for code in codes if f"`{code}`" not in PROTOCOL} == set()


def test_codes_with_a_star_are_those_that_may_succeed_later():
    starred = set(re.findall(r"^\| `(\w+)` \* \|", PROTOCOL, re.MULTILINE))
    temporary = {error.code for error in errors(RelayError) if error.temporary} - {"server_restart"}
    assert starred == temporary


def test_every_close_code_is_documented():
    assert [code for code in CloseCode if not re.search(rf"\b{int(code)}\b", PROTOCOL)] == []


def errors(base: type[RelayError]) -> set[type[RelayError]]:
    return {base, *(error for child in base.__subclasses__() for error in errors(child))}


def test_description_of_the_sockets_is_current():
    call_command("asyncapi", "--check", stdout=io.StringIO())


def test_description_that_is_not_current_is_named_and_written(settings, tmp_path):
    settings.BASE_DIR = tmp_path
    (tmp_path / "docs").mkdir()
    with pytest.raises(CommandError, match="not current"):
        call_command("asyncapi", "--check")
    call_command("asyncapi")
    call_command("asyncapi", "--check")


def test_every_reference_of_the_description_leads_somewhere():
    document = asyncapi.document()
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', asyncapi.text())):
        found = document
        for part in reference.split("/"):
            found = found[part]
