"""``manage.py prune_transcripts``."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command

from relay.management.commands import prune_transcripts
from relay.models import Turn


@pytest.fixture
def turns(database):
    now = datetime.now(UTC)
    ages = {
        "new": timedelta(hours=1),
        "young": timedelta(days=29),
        "old": timedelta(days=31),
        "older": timedelta(days=400),
    }
    for name, age in ages.items():
        Turn.objects.create(
            turn_id=name, session_id=f"s-{name}", message="x", reason="answered", worker="w", ended_at=now - age
        )


def prune(*arguments):
    shown = io.StringIO()
    call_command("prune_transcripts", *arguments, stdout=shown)
    return shown.getvalue()


def kept():
    return set(Turn.objects.values_list("turn_id", flat=True))


def test_older_turns_are_erased_and_counted(turns, monkeypatch):
    monkeypatch.setattr(prune_transcripts, "BATCH", 1)
    assert prune("--older-than", "30d") == "2 transcripts erased.\n"
    assert kept() == {"new", "young"}


@pytest.mark.parametrize(("text", "count"), [("90m", 3), ("1h", 4), ("2w", 3), ("500d", 0)])
def test_age_has_units(turns, text, count):
    assert prune("--older-than", text, "--dry-run") == f"{count} transcripts would be erased.\n"
    assert len(kept()) == 4


def test_one_session_is_erased(turns):
    assert prune("--session", "s-new") == "1 transcripts erased.\n"
    assert kept() == {"young", "old", "older"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required"),
        (["--older-than", "30"], "such as 30d"),
        (["--older-than", "1d", "--session", "s"], "not allowed"),
    ],
)
def test_wrong_usage_is_named(arguments, words):
    with pytest.raises(CommandError, match=words):
        prune(*arguments)


@pytest.mark.parametrize("is_migrated", [False], indirect=True)
def test_database_without_tables_is_named(database):
    with pytest.raises(CommandError, match=r"manage\.py migrate"):
        prune("--older-than", "1d")
