"""The operator's commands: what a person sees."""

from __future__ import annotations

import io

import pytest
from django.core.management import load_command_class
from rich.console import Console

from relay.management.commands import sessions
from relay.management.commands.sessions import _View
from relay.management.terminal import counted, duration, printable

NAMES = (
    "sessions",
    "tail",
    "turns",
    "cancel",
    "disconnect",
    "drop",
    "notice",
    "drain",
    "ticket",
    "prune_transcripts",
    "failures",
    "doctor",
    "chat",
)


def session(name, **fields):
    given = {
        "epoch": "e",
        "offset": 10,
        "active": None,
        "queued": [],
        "viewers": 0,
        "idle_seconds": 1,
        "age_seconds": 9,
    }
    return {"session_id": name, **given, **fields}


@pytest.mark.parametrize("name", NAMES)
def test_help_has_examples_and_exit_codes(name):
    shown = load_command_class("relay", name).create_parser("manage.py", name).format_help()
    assert f"manage.py {name}" in shown.partition("examples:")[2]
    assert "exit codes:" in shown


@pytest.mark.parametrize("program", ["agent-gateway", "python -m relay"])
def test_examples_call_the_program_that_shows_them(program):
    shown = load_command_class("relay", "tail").create_parser(program, "tail").format_help()
    assert f"{program} tail" in shown.partition("examples:")[2]
    assert "manage.py" not in shown


def test_table_shows_work_first_with_its_speed():
    sessions = [
        session("quiet"),
        session("waits", queued=["t"]),
        session("runs", offset=50, active={"turn_id": "t", "status": "running"}, viewers=3, idle_seconds=0),
        session("stops", active={"turn_id": "t", "status": "cancelling"}),
    ]
    view = _View({"runs e": 10, "quiet other": 3}, sessions, "", 2.0)
    assert [row[:5] for row in view.rows()] == [
        ("stops", "cancelling", "0", "0", ""),
        ("runs", "running", "0", "3", "20"),
        ("waits", "queued", "1", "0", ""),
        ("quiet", "idle", "0", "0", ""),
    ]
    console = Console(file=io.StringIO(), width=100)
    console.print(view.table())
    shown = console.file.getvalue()
    assert "4 sessions, 3 active, 3 viewers" in shown
    assert shown.index("stops") < shown.rindex("quiet")


WARNING = "1 of 3 nodes of the store did not answer: sessions are missing."


class Gateway:
    """A client of one that lists two sessions, and lacks others."""

    def sessions(self):
        return [session("one"), session("two")], WARNING


@pytest.mark.parametrize("is_json", [True, False])
def test_list_for_a_program_has_its_warning_apart(is_json):
    shown, aside = io.StringIO(), io.StringIO()
    command = sessions.Command(stdout=shown, stderr=aside, no_color=True)
    command.ask(Gateway(), {"json": is_json, "watch": False})
    assert aside.getvalue() == f"{WARNING}\n"
    assert "one" in shown.getvalue()
    assert WARNING not in shown.getvalue()


@pytest.mark.parametrize(("height", "hidden"), [(20, 0), (6, 1)])
def test_table_says_which_sessions_are_missing(height, hidden):
    console = Console(file=io.StringIO(), width=80, height=height)
    console.print(_View({}, *Gateway().sessions(), 1.0).shown(console.size))
    *_, last = console.file.getvalue().rstrip().splitlines()
    assert last == WARNING
    assert ("and 1 more" in console.file.getvalue()) == bool(hidden)
    assert len(console.file.getvalue().splitlines()) <= height


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")]
)
def test_duration_is_said_as_people_say_it(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(("number", "words"), [(0, "0 viewers"), (1, "1 viewer"), (2, "2 viewers")])
def test_one_thing_is_not_said_as_many(number, words):
    assert counted(number, "viewer") == words


def test_answer_cannot_steer_the_terminal():
    assert printable("a\x1b[2Jb\ud83d\ude00\n") == "a[2Jb\U0001f600\n"
