"""``manage.py failures``: the session, the user, the message and the reason of each turn that failed."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command

from relay.models import Turn

OLD = timedelta(minutes=20)
TURNS = {
    "good": {"reason": "answered"},
    "stopped": {"reason": "cancelled"},
    "old": {"reason": "interrupted"},
    "refused": {"reason": "upstream_error", "upstream_status": 401, "error": "No such\tkey\x1b[2J", "subject": "ann"},
    "silent": {"reason": "upstream_timeout", "message": "word " * 50},
}


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def turns(database):
    now = datetime.now(UTC)
    for name, fields in TURNS.items():
        ended_at = now - (OLD if name == "old" else timedelta(seconds=len(name)))
        given = {"message": "Hello?", "worker": "w", "ended_at": ended_at, **fields}
        Turn.objects.create(turn_id=name, session_id=f"s-{name}", **given)


def failures(*arguments):
    shown = io.StringIO()
    call_command("failures", *arguments, stdout=shown)
    return shown.getvalue()


def test_each_failed_turn_is_listed_with_its_reason(turns):
    header, *rows = [line.split("\t") for line in failures().splitlines()]
    assert header == ["time", "session", "user", "message", "why"]
    assert [row[1:] for row in rows] == [
        ["s-silent", "", f"{'word ' * 11}…", "upstream_timeout"],
        ["s-refused", "ann", "Hello?", "upstream_error (HTTP 401): No such key[2J"],
    ]


def test_a_program_gets_all_fields(turns):
    (first, *_) = [json.loads(line) for line in failures("--json", "--since", "1h").splitlines()]
    assert (first["turn_id"], first["reason"], first["message"]) == ("silent", "upstream_timeout", "word " * 50)
    refused = [json.loads(line) for line in failures("--json").splitlines()][-1]
    assert (refused["upstream_status"], refused["subject"]) == (401, "ann")
    assert datetime.fromisoformat(refused["ended_at"]) > datetime.now(UTC) - OLD


@pytest.mark.parametrize(
    ("arguments", "count"), [(["--since", "30m"], 3), (["--limit", "1"], 1), (["--limit", "0"], 0)]
)
def test_time_and_number_are_bounded(turns, arguments, count):
    assert len(failures(*arguments).splitlines()) == 1 + count


def on_screen(capsys):
    call_command("failures", stdout=Screen())
    return capsys.readouterr().out


def test_a_person_sees_the_counts_first(turns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    shown = on_screen(capsys)
    assert shown.splitlines()[:5] == [
        "4 turns ended, 2 failed.",
        "     1  upstream_error (HTTP 401): No such key[2J",
        "     1  upstream_timeout",
        "by user: 1 (none), 1 ann",
        "by session: 1 s-refused, 1 s-silent",
    ]


def test_the_most_frequent_are_counted(turns, capsys):
    """Of each reason with the words of its newest turn that has some."""
    for number in range(6):
        Turn.objects.create(
            turn_id=str(number), session_id="s", subject=f"u-{number}", reason="internal", ended_at=datetime.now(UTC),
            error="A bug." * (number == 3),
        )  # fmt: skip
    lines = on_screen(capsys).splitlines()
    assert lines[1] == "     6  internal: A bug."
    assert lines[4:6] == [
        "by user: 1 (none), 1 ann, 1 u-0, 1 u-1, 1 u-2, …",
        "by session: 6 s, 1 s-refused, 1 s-silent",
    ]


def test_a_person_is_told_that_there_is_none(database, capsys, settings):
    settings.GATEWAY = {**settings.GATEWAY, "TRANSCRIPTS": "true"}
    assert on_screen(capsys) == "0 turns ended, 0 failed.\n"
    settings.GATEWAY = {**settings.GATEWAY, "TRANSCRIPTS": "false"}
    assert on_screen(capsys) == "Transcripts are off (GATEWAY__TRANSCRIPTS=false).\n"


@pytest.mark.parametrize("is_migrated", [False], indirect=True)
def test_database_without_tables_is_named(database):
    with pytest.raises(CommandError, match=r"manage\.py migrate"):
        failures()
