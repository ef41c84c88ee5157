"""The light queue and event do what asyncio's do."""

from __future__ import annotations

import asyncio
import sys

import pytest

from relay.server.waiting import LightEvent, LightQueue


@pytest.fixture(params=[asyncio.Queue, LightQueue])
def queue(request):
    return request.param()


@pytest.fixture(params=[asyncio.Event, LightEvent])
def event(request):
    return request.param()


async def started(work):
    """A task that waits already."""
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def within_limit(work):
    async with asyncio.timeout(60):
        return await work


async def test_items_come_in_order_whether_they_are_waited_for_or_not(queue):
    queue.put_nowait(1)
    queue.put_nowait(2)
    assert (queue.qsize(), queue.empty()) == (2, False)
    assert [await queue.get(), queue.get_nowait()] == [1, 2]
    assert (queue.qsize(), queue.empty()) == (0, True)
    getting = await started(queue.get())
    queue.put_nowait(3)
    queue.put_nowait(4)
    assert await within_limit(getting) == 3
    assert queue.get_nowait() == 4


async def test_empty_queue_has_nothing_to_give_at_once(queue):
    with pytest.raises(asyncio.QueueEmpty):
        queue.get_nowait()


async def test_each_item_reaches_one_of_the_tasks_that_wait(queue):
    getting = [await started(queue.get()) for _ in range(2)]
    queue.put_nowait(1)
    await asyncio.sleep(0)
    queue.put_nowait(2)
    assert sorted(await within_limit(asyncio.gather(*getting))) == [1, 2]
    assert queue.empty()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_item_is_not_lost_with_the_task_that_was_to_get_it(queue, when):
    cancelled, getting = await started(queue.get()), await started(queue.get())
    if when == "before":
        cancelled.cancel()
        await asyncio.sleep(0)
        queue.put_nowait(1)
    else:
        queue.put_nowait(1)
        cancelled.cancel()
    assert await within_limit(getting) == 1
    assert cancelled.cancelled()


async def test_event_is_waited_for_until_it_is_set(event):
    assert not event.is_set()
    waiting = [await started(event.wait()) for _ in range(2)]
    event.set()
    assert await within_limit(asyncio.gather(*waiting)) == [True, True]
    assert event.is_set()
    assert await event.wait()
    event.clear()
    assert not event.is_set()
    again = await started(event.wait())
    event.set()
    event.clear()
    assert await within_limit(again), "it was set in between"


async def test_tasks_that_were_cancelled_leave_nothing_behind():
    event, empty = LightEvent(), sys.getsizeof([])
    waiting = [await started(event.wait()) for _ in range(10)]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert event._waiters == []
    assert empty < sys.getsizeof(asyncio.Event()._waiters)
