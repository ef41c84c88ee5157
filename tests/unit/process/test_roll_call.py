"""Processes report themselves to each other, over one layer."""

from __future__ import annotations

import pytest

from relay.process.roll_call import ASK_SECONDS, REMEMBERED_SECONDS, RollCall

OTHER = (
    '{"name":"far:1","version":"0.9","uptime_seconds":60,"sockets":3,"event_streams":1,"running_turns":2,"cpu":0.5,'
    '"is_draining":true,"of_a_later_version":1}'
)


class Layer:
    """Keeps the orders that are published."""

    def __init__(self):
        self.orders = []

    async def publish_order(self, order):
        self.orders.append(order)


@pytest.fixture
def layer():
    return Layer()


@pytest.fixture
def clock():
    return [100.0]


@pytest.fixture
def roll_call(layer, clock):
    return RollCall(layer, lambda: clock[0])


async def test_processes_are_asked_once_a_second_however_many_look(layer, clock, roll_call):
    for _ in range(3):
        (here,) = await roll_call.take()
    assert layer.orders == [{"order": "report"}]
    clock[0] += ASK_SECONDS
    await roll_call.take()
    assert len(layer.orders) == 2
    assert here.report.running_turns >= 0


async def test_an_answer_is_read_by_every_process(layer, roll_call):
    await roll_call.answer()
    other = RollCall(layer)
    other.hear(layer.orders[-1])
    assert [heard.report.name for heard in await other.take()] == [(await roll_call.take())[0].report.name]


async def test_a_process_that_is_silent_is_listed_for_a_while(clock, roll_call):
    roll_call.hear({"order": "reported", "report": OTHER})
    clock[0] += REMEMBERED_SECONDS
    known = {heard.report.name: heard for heard in await roll_call.take()}
    assert (known["far:1"].silent_seconds, known["far:1"].report.is_draining) == (REMEMBERED_SECONDS, True)
    clock[0] += 1
    assert "far:1" not in {heard.report.name for heard in await roll_call.take()}


@pytest.mark.parametrize("report", [None, "", "{}", '{"name":1}', OTHER.replace("60", '"x"')])
async def test_a_report_that_cannot_be_read_is_dropped(roll_call, report):
    roll_call.hear({"order": "reported", "report": report})
    assert len(await roll_call.take()) == 1
