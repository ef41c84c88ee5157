"""The public names: those that modules declare, the page describes, and the project uses."""

import ast
import importlib
import re

import pytest

from tests.extending.conftest import PROJECT
from tests.processes import ROOT

PUBLIC = {
    "relay": ["__version__", "settings_from_environment"],
    "relay.adapters": [
        "Adapter",
        "AdapterRequest",
        "ChatRequest",
        "Limits",
        "Translator",
        "forwarded",
        "last_message",
        "message_id_of",
        "session_id_of",
        "user_message",
    ],
    "relay.admin": ["register"],
    "relay.agent.function": ["AgentError", "AnswerFunction", "Marked", "PastTurn", "Session"],
    "relay.agent.protocols": [
        "AgentProtocol",
        "AgentRequest",
        "AgentSettings",
        "Event",
        "EventReader",
        "PastTurn",
        "Turn",
    ],
    "relay.exceptions": [
        "AlreadyDecided",
        "ClientMessageInvalid",
        "ClientMessageTooLarge",
        "Forbidden",
        "IdempotencyConflict",
        "LeaseLost",
        "NotOwner",
        "ParameterInvalid",
        "QueueFull",
        "RelayError",
        "SessionBusy",
        "StoreUnavailable",
        "TurnCancelled",
        "Unauthorized",
    ],
    "relay.layers.base": ["Limits", "Outbox", "SessionLayer"],
    "relay.layers.bounds": ["Bounds"],
    "relay.layers.memory": ["MemorySessionLayer"],
    "relay.layers.redis": ["RedisSessionLayer"],
    "relay.layers.values": [
        "Accepted",
        "AgentPosition",
        "CancelAck",
        "CancelStatus",
        "NewNotification",
        "NewTurn",
        "Notification",
        "Question",
        "Rate",
        "SessionPage",
        "SessionState",
        "Turn",
        "Viewer",
        "new_epoch",
        "new_id",
    ],
    "relay.observability.access_logs": ["hide_query_strings"],
    "relay.observability.logging_config": ["logging_settings"],
    "relay.policies": ["Handshake", "Identity", "Limits", "Policy", "Rate"],
    "relay.protocol.cursor": ["UNKNOWN", "Cursor"],
    "relay.protocol.frames": ["CallFrame", "Frame", "FrameKind", "ReplayGap", "Snapshot"],
    "relay.routing": ["application", "lifespan", "running", "websocket_urlpatterns"],
    "relay.server.uvicorn": ["WebSocket"],
    "relay.signals": ["EndType", "MessageAccepted", "TurnEnded", "message_accepted", "turn_ended"],
    "relay.testing": ["Clock", "MemoryStore", "Store"],
    "relay.urls": ["app_name", "urlpatterns"],
    "relay.web.middleware": ["internal_auth", "request_context"],
}
SUITE = "relay.testing.contract.*"  # tests and fixtures, which the page describes
PAGE = (ROOT / "docs" / "extending.md").read_text()
SOURCES = sorted(PROJECT.rglob("*.py"))
DOTTED_PATH = re.compile(r"relay(?:\.\w+)+")


def declared():
    """Each module with ``__all__``, and its names. (A command is no module that others import.)"""
    for path in sorted((ROOT / "relay").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        for node in ast.parse(path.read_text()).body if "management" not in parts else ():
            match node:
                case ast.Assign(targets=[ast.Name(id="__all__")]):
                    yield ".".join(part for part in parts if part != "__init__"), ast.literal_eval(node.value)


def is_public(dotted_path):
    module, _, name = dotted_path.rpartition(".")
    return dotted_path in PUBLIC or name in PUBLIC.get(module, ()) or dotted_path == SUITE


def used(source):
    """The dotted paths of the gateway that a file imports, or names in a text; and private members."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "relay")
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] == "relay":
                yield from (f"{module}.{alias.name}" for alias in node.names)
            case ast.Constant(value=str(text)) if DOTTED_PATH.fullmatch(text):
                yield text
            case ast.Attribute(attr=name) if name.startswith("_") and not name.endswith("__"):
                yield name


def test_the_public_names_are_declared_and_no_others():
    assert dict(declared()) == PUBLIC
    for module, names in PUBLIC.items():
        assert all(hasattr(importlib.import_module(module), name) for name in names)


@pytest.mark.parametrize("module", PUBLIC)
def test_the_page_lists_the_public_names(module):
    (row,) = re.findall(rf"^\| `{re.escape(module)}` \| (.+?) \|", PAGE, re.MULTILINE)
    assert re.findall(r"`(\w+)`", row) == PUBLIC[module]


def test_the_page_lists_no_other_module():
    assert set(re.findall(r"^\| `(relay[\w.]*)` \|", PAGE, re.MULTILINE)) == set(PUBLIC)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_project_uses_public_names_only(source):
    assert [name for name in used(source.read_text()) if not is_public(name)] == []


@pytest.mark.parametrize(
    "source",
    [
        "from relay.conf import conf",
        "import relay.process.lifecycle",
        "from relay.policies import make_policy",
        "x = 'relay.layers.redis.layer.RedisSessionLayer'",
        "session._history",
    ],
)
def test_a_private_name_would_be_found(source):
    assert not all(is_public(name) for name in used(source))


@pytest.mark.parametrize("block", re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
def test_each_example_of_the_page_is_a_part_of_the_project(block):
    assert any(block in path.read_text() for path in SOURCES)
