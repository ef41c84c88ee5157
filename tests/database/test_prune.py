"""``manage.py prune_transcripts``."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command

from relay.exceptions import StoreUnavailable
from relay.layers.memory.limits import MemoryLimits
from relay.management.commands import prune_transcripts
from relay.models import Conversation, Turn
from relay.transcripts import pruner
from relay.transcripts.pruner import Pruner
from relay.transcripts.writer import Transcripts
from tests.database.test_transcripts import LIMIT_SECONDS, execute, in_thread


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
        Conversation.objects.create(session_id=f"s-{name}", created=now - age, updated=now - age)


def prune(*arguments):
    shown = io.StringIO()
    call_command("prune_transcripts", *arguments, stdout=shown)
    return shown.getvalue()


def kept():
    names = set(Turn.objects.values_list("turn_id", flat=True))
    assert {f"s-{name}" for name in names} == set(Conversation.objects.values_list("session_id", flat=True))
    return names


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


# Beside the gateway's turns: GATEWAY__TRANSCRIPT_DAYS.


@pytest.fixture
async def transcripts(turns, settings):
    settings.GATEWAY = {**settings.GATEWAY, "TRANSCRIPTS": "true", "TRANSCRIPT_DAYS": "30"}
    writer = Transcripts()
    writer.start()
    yield writer
    await writer.stop()


async def test_one_worker_erases_what_is_too_old_in_steps(transcripts, monkeypatch):
    monkeypatch.setattr(pruner, "STEP_ROWS", 1)
    monkeypatch.setattr(pruner, "STEP_PAUSE_SECONDS", 0)
    now = [0.0]
    limits = MemoryLimits(lambda: now[0])
    workers = [Pruner(transcripts, limits) for _ in range(3)]
    assert [await worker.prune() for worker in workers] == [4, 0, 0]
    assert await in_thread(kept) == {"new", "young"}
    now[0] += pruner.INTERVAL_SECONDS
    assert await workers[1].prune() == 0, "another worker may be the next; nothing is too old now"


async def test_a_database_that_refuses_is_asked_again_later(transcripts):
    await execute("ALTER TABLE relay_turn RENAME TO hidden")
    with pytest.raises(StoreUnavailable):
        await Pruner(transcripts, MemoryLimits(lambda: 0.0)).prune()
    await execute("ALTER TABLE hidden RENAME TO relay_turn")
    assert await Pruner(transcripts, MemoryLimits(lambda: 0.0)).prune() == 4


async def test_the_pruner_prunes_again_and_again_until_it_is_stopped(transcripts, monkeypatch):
    monkeypatch.setattr(pruner, "INTERVAL_SECONDS", 0.001)
    monkeypatch.setattr(pruner, "STEP_PAUSE_SECONDS", 0)
    prunings = asyncio.Queue()
    prune = Pruner.prune

    async def counted(self):
        count = await prune(self)
        prunings.put_nowait(count)
        if count == 0:
            raise StoreUnavailable
        return count

    monkeypatch.setattr(Pruner, "prune", counted)
    working = Pruner(transcripts, MemoryLimits(lambda: 0.0))
    working.start()
    async with asyncio.timeout(LIMIT_SECONDS):
        assert [await prunings.get() for _ in range(3)] == [4, 0, 0]
    await working.stop()


@pytest.mark.parametrize("texts", [{"TRANSCRIPT_DAYS": "0"}, {"TRANSCRIPTS": "false"}])
async def test_without_a_limit_or_transcripts_nothing_is_pruned(transcripts, settings, texts):
    settings.GATEWAY = {**settings.GATEWAY, **texts}
    idle = Pruner(transcripts, MemoryLimits(lambda: 0.0))
    idle.start()
    assert not idle._task.is_running
    await idle.stop()
