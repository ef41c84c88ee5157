"""Calls of a store's scripts: however an exchange breaks off, they reach the store in the order of their making."""

import asyncio
import logging

import pytest
from redis.exceptions import NoScriptError

from relay.layers.bounds import Bounds
from relay.layers.redis.group_commit import GroupCommit
from relay.layers.redis.keys import ScriptKeys
from relay.layers.redis.scripts import Scripts
from relay.observability import logging_config
from relay.observability.outage_log import OutageLog
from tests.unit.layers.fake_connection import FakeConnection

LIMIT_SECONDS = 60
NO_KEYS = ScriptKeys(0, ())
NAMES = ["first", "second", "third", "last"]


class Connection(FakeConnection):
    """Replies to each exchange as the test says; ``exchanges`` has the calls of each by name."""

    def __init__(self, *answers, is_open):
        self.is_open = is_open
        self.exchanges = []
        self._answers = list(answers)

    def answer(self, commands):
        self.exchanges.append([_name(command) for command in commands])
        replies = self._answers.pop(0) if self._answers else [b"done"] * len(commands)
        return replies, ConnectionError() if len(replies) < len(commands) else None


def _name(command):
    return next(name for name in ["LOAD", *NAMES] if name.encode() in command)


@pytest.mark.parametrize(
    ("answers", "exchanges"),
    [
        ([[]], [["first", "second", "third"], ["first", "second", "third", "last"]]),
        ([[b"done"]], [["first", "second", "third"], ["second", "third", "last"]]),
        ([[NoScriptError()] * 3], [["first", "second", "third"], ["LOAD"], ["first", "second", "third", "last"]]),
        (
            [[b"done", NoScriptError(), NoScriptError()]],
            [["first", "second", "third"], ["LOAD"], ["second", "third", "last"]],
        ),
    ],
    ids=["no-reply", "one-reply", "unknown-script", "unknown-from-the-second-on"],
)
@pytest.mark.parametrize("is_open", [True, False], ids=["connected", "not-yet-connected"])
async def test_calls_are_repeated_in_their_order_and_before_later_ones(answers, exchanges, is_open):
    outages = OutageLog(logging.getLogger(__name__))
    commit = GroupCommit(
        "redis://unused", Scripts(Bounds()), outages, timeout_seconds=1, patience_seconds=LIMIT_SECONDS
    )
    connection = commit._connection = Connection(*answers, is_open=is_open)
    calls = [commit.call("renew", NO_KEYS, (name,)) for name in NAMES[:-1]]
    while not connection.exchanges:
        await asyncio.sleep(0)
    calls.append(commit.call("renew", NO_KEYS, (NAMES[-1],)))
    async with asyncio.timeout(LIMIT_SECONDS):
        assert await asyncio.gather(*calls) == [b"done"] * 4
    assert connection.exchanges == exchanges
    await commit.close()


@pytest.mark.parametrize("is_open", [True, False], ids=["connected", "not-yet-connected"])
async def test_exchanges_know_nothing_of_the_request_of_the_first_call(is_open):
    outages = OutageLog(logging.getLogger(__name__))
    commit = GroupCommit("redis://unused", Scripts(Bounds()), outages, timeout_seconds=1, patience_seconds=1)
    seen = []

    class Watching(Connection):
        def answer(self, commands):
            seen.append(logging_config._context_names.get())
            return super().answer(commands)

    commit._connection = Watching(is_open=is_open)
    with logging_config.bound(request_id="r1"):
        await commit.call("renew", NO_KEYS, ("first",))
    assert seen == [{}]
    await commit.close()
