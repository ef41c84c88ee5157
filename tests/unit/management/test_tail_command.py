"""``manage.py tail``: what a person sees, and that it comes back where it was."""

from __future__ import annotations

import io

import pytest
from django.core.management.base import CommandError

from relay.management.commands import tail
from relay.management.operator_client import Refused, Unreachable

WELCOME = {"type": "welcome", "session_id": "s", "offset": 4}
DELETED = {"type": "disconnect", "content": "This conversation was deleted.", "reconnect": False}
RESTART = {"type": "disconnect", "content": "The server restarts.", "reconnect": True}


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Gateway:
    """A client of one whose lines say these things, each until it breaks; cursors are counted on."""

    def __init__(self, *lines):
        self._lines = list(lines)
        self.asked_after = []

    def session(self, session_id):
        return {"session_id": session_id}

    def frames(self, session_id, after):
        self.asked_after.append(after)
        for thing in self._lines.pop(0):
            if isinstance(thing, Exception):
                raise thing
            yield thing, f"e:{thing['offset']}" if "offset" in thing else ""


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(tail, "PAUSE_SECONDS", 0)


def shown(gateway, error, *, from_beginning=False):
    terminal = Terminal()
    command = tail.Command(stdout=terminal, stderr=terminal, no_color=True)
    with pytest.raises(error):
        command.ask(gateway, {"session": "s", "all": from_beginning, "json": False})
    return terminal.getvalue()


def test_person_sees_a_conversation():
    gateway = Gateway(
        [
            WELCOME,
            {"type": "user_message", "content": "Capital of France?", "offset": 5},
            {"type": "assistant_message", "token": "Par", "is_final": False, "offset": 6},
            {"type": "assistant_message", "token": "is\x1b[2J", "is_final": False, "offset": 7},
            {"type": "tool_call", "name": "ü", "offset": 8},
            {"type": "notice", "content": "Something was skipped.", "offset": 9},
            {"type": "assistant_message", "token": "", "is_final": True, "finish_reason": "stop", "offset": 10},
            {"type": "rate", "stars": 5, "offset": 11},
            {"type": "error", "code": "upstream_eof", "content": "It broke off.", "offset": 12},
            DELETED,
        ]
    )
    assert shown(gateway, CommandError).splitlines() == [
        "[session s, frame 4]",
        "",
        "",
        "> Capital of France?",
        "Paris[2J",
        '{"type": "tool_call", "name": "ü", "offset": 8}',
        "",
        "[Something was skipped.]",
        " [stop]",
        "",
        '{"type": "rate", "stars": 5, "offset": 11}',
        "",
        "[upstream_eof: It broke off.]",
        "",
        "[This conversation was deleted.]",
    ]


def test_what_was_trimmed_is_told_by_its_text():
    snapshot = {"type": "snapshot", "content": "the answer so far", "offset": 9}
    assert "[…] the answer so far" in shown(Gateway([WELCOME, snapshot, DELETED]), CommandError)
    assert "[…] \n" in shown(Gateway([WELCOME, {**snapshot, "content": None}, DELETED]), CommandError)


@pytest.mark.parametrize(("from_beginning", "first"), [(False, ""), (True, ":0")])
def test_it_comes_back_where_it_was_after_a_lost_line(from_beginning, first):
    token = {"type": "assistant_message", "token": "a", "is_final": False}
    gateway = Gateway(
        [WELCOME, {**token, "offset": 5}, Unreachable("broken")],
        [Unreachable("not there yet")],
        [Unreachable("nor now")],
        [{**token, "offset": 6}, RESTART],
        [],
        [Refused("This conversation was deleted.", 204)],
    )
    said = shown(gateway, Refused, from_beginning=from_beginning)
    assert gateway.asked_after == [first, "e:5", "e:5", "e:5", "e:6", "e:6"]
    assert said.count("does not respond at the moment") == 1


def test_gateway_that_was_never_there_ends_it():
    gateway = Gateway([Unreachable("nobody")])
    shown(gateway, Unreachable)
    assert gateway.asked_after == [""]
