"""A worker's link to its parent, with the test as the parent."""

import asyncio
import json
import os
import socket
from contextlib import asynccontextmanager

import pytest

from relay.process import control, supervision
from relay.process.supervision import ParentLink
from tests.clients import LIMIT_SECONDS


class Parent:
    def __init__(self, reader, writer):
        self._reader = reader
        self.writer = writer

    def say(self, kind, **fields):
        self.writer.write(json.dumps({"say": kind, **fields}).encode() + b"\n")

    async def hear(self):
        async with asyncio.timeout(LIMIT_SECONDS):
            return json.loads(await self._reader.readline())


class Called(asyncio.Event):
    """A callback that can be waited for."""

    def __call__(self):
        self.set()


@asynccontextmanager
async def linked():
    """A parent, the link of its worker 3, and what the link calls."""
    ours, theirs = socket.socketpair()
    parent = Parent(*await asyncio.open_unix_connection(sock=ours))
    link = ParentLink(3, theirs.detach())
    ended, lost = Called(), Called()

    async def report(accept):
        return f"{accept} of this one"

    await link.open(report=report, on_end=ended, on_parent_lost=lost)
    try:
        yield parent, link, ended, lost
    finally:
        await link.close()
        parent.writer.close()
        await parent.writer.wait_closed()


async def test_worker_says_that_it_is_ready_and_then_that_it_is_alive(monkeypatch):
    monkeypatch.setattr(supervision, "ALIVE_SECONDS", 0.01)
    async with linked() as (parent, link, *_):
        link.ready()
        assert [(await parent.hear())["say"] for _ in range(3)] == ["ready", "alive", "alive"]


async def test_end_and_the_loss_of_the_parent_are_told_apart():
    async with linked() as (parent, _, ended, lost):
        parent.say("end")
        async with asyncio.timeout(LIMIT_SECONDS):
            await ended.wait()
            assert not lost.is_set()
            parent.writer.close()
            await lost.wait()


async def test_metrics_are_given_and_asked_for():
    async with linked() as (parent, link, *_):
        parent.say("collect", id=5, accept="text")
        assert await parent.hear() == {"say": "collected", "id": 5, "text": "text of this one"}
        asking = [asyncio.create_task(link.collect(accept)) for accept in ("one", "two")]
        questions = [await parent.hear() for _ in asking]
        assert [question["accept"] for question in questions] == ["one", "two"]
        for question in reversed(questions):
            parent.say("collected", id=question["id"], texts=[question["accept"]])
        assert await asyncio.gather(*asking) == [["one"], ["two"]]


async def test_parent_that_does_not_answer_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr(supervision, "COLLECT_SECONDS", 0.01)
    async with linked() as (parent, link, *_):
        assert await link.collect("text") == []
        question = await parent.hear()
        parent.say("collected", id=question["id"], texts=["too late"])
        monkeypatch.setattr(supervision, "COLLECT_SECONDS", LIMIT_SECONDS)
        asking = asyncio.create_task(link.collect("text"))
        question = await parent.hear()
        parent.say("collected", id=question["id"], texts=["in time"])
        assert await asking == ["in time"]


async def test_parent_that_has_gone_is_told_nothing():
    async with linked() as (parent, link, _, lost):
        parent.writer.close()
        async with asyncio.timeout(LIMIT_SECONDS):
            await lost.wait()
        link.leaving()
        link.drain()
        await link.close()
        link.leaving()


async def test_message_of_a_newer_parent_is_passed_over():
    async with linked() as (parent, _, ended, lost):
        parent.say("something new")
        parent.say("end")
        async with asyncio.timeout(LIMIT_SECONDS):
            await ended.wait()
        assert not lost.is_set()


@pytest.fixture
def signals(monkeypatch):
    sent = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(pid))
    return sent


async def test_operators_drain_of_a_worker_goes_to_its_parent(signals, monkeypatch):
    async with linked() as (parent, link, *_):
        monkeypatch.setattr(supervision, "_links", [])
        supervision.have_parent(link)
        control.end_process()
        assert (await parent.hear())["say"] == "drain"
    assert signals == []


def test_operators_drain_of_a_single_process_goes_to_itself(signals):
    assert supervision.parent() is None
    control.end_process()
    assert signals == [os.getpid()]
