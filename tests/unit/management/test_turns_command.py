"""``manage.py turns``: what a person sees of a conversation that has ended."""

from __future__ import annotations

import io

import pytest

from relay.management.commands import turns
from relay.management.operator_client import Refused

TURN = {
    "turn_id": "t1", "subject": "ann", "message": "Capital of France?", "answer": "Paris.", "finish_reason": "stop",
    "error": None, "events": [], "events_left_out": 0, "started_at": None, "ended_at": "2026-01-01T12:00:02.500Z",
}  # fmt: skip
FAILED = {
    **TURN, "subject": None, "message": "And\x1b[2J of Peru?", "answer": "", "finish_reason": "error", "ended_at": None,
    "error": {"code": "upstream_error", "content": "The agent could not answer this message."},
}  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Gateway:
    """A client of one that has these turns."""

    def __init__(self, *found, is_complete=True, is_there=True):
        self._found, self._is_complete, self._is_there = list(found), is_complete, is_there

    def turns(self, session_id, limit):
        return self._found[-limit:], self._is_complete

    def session(self, session_id):
        if not self._is_there:
            raise Refused(f"There is no session {session_id}.", 404)


def shown(gateway, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    command = turns.Command(stdout=terminal, stderr=terminal, no_color=True)
    command.ask(gateway, {"session": "s", "limit": 50, "json": False})
    return terminal.getvalue()


def test_person_reads_a_conversation(monkeypatch):
    assert shown(Gateway(TURN, FAILED), monkeypatch) == (
        "[2026-01-01T12:00:02.500Z, ann]\n\r> Capital of France?\nParis.\n"
        "[just now]\n\r> And[2J of Peru?\n\n[The agent could not answer this message.]\n"
    )


def test_session_without_ended_turns_says_so(monkeypatch):
    assert shown(Gateway(), monkeypatch) == "No turn has ended in this session.\n"


def test_session_that_does_not_exist_is_named(monkeypatch):
    with pytest.raises(Refused, match="There is no session s"):
        shown(Gateway(is_there=False), monkeypatch)


def test_turns_that_may_be_missing_are_said(monkeypatch):
    """Then a session without turns may have some."""
    assert "Turns may be missing" in shown(Gateway(is_complete=False, is_there=False), monkeypatch)
