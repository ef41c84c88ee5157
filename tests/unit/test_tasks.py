"""The asyncio idioms, and the running loop, whichever it is."""

import asyncio
import contextlib
import gc
import threading
import weakref

import pytest

from relay import tasks
from relay.observability import logging_config
from relay.tasks import FairTimeout, running_loop
from tests.clients import LIMIT_SECONDS


async def is_right():
    return running_loop() is asyncio.get_running_loop()


def test_running_loop_is_that_of_this_thread_and_this_moment():
    assert asyncio.run(is_right())
    assert asyncio.run(is_right()), "another one, in the same thread"

    async def meanwhile_elsewhere():
        answers = [await is_right()]
        thread = threading.Thread(target=lambda: answers.append(asyncio.run(is_right())))
        thread.start()
        await asyncio.to_thread(thread.join)
        return [*answers, await is_right()]

    assert asyncio.run(meanwhile_elsewhere()) == [True, True, True]


def test_without_a_running_loop_it_raises():
    asyncio.run(is_right())
    with pytest.raises(RuntimeError):
        running_loop()


async def test_time_that_is_over_ends_a_wait():
    with pytest.raises(TimeoutError):
        async with FairTimeout(0.01):
            await asyncio.Event().wait()


async def test_a_process_that_stood_still_gets_what_comes_a_moment_later(clock, monkeypatch):
    monkeypatch.setattr(tasks, "GRACE_SECONDS", LIMIT_SECONDS)  # this process may stand still once more
    result, is_waiting = asyncio.get_running_loop().create_future(), asyncio.Event()

    async def wait():
        async with FairTimeout(LIMIT_SECONDS):
            is_waiting.set()
            return await result

    waiting = asyncio.create_task(wait())
    await is_waiting.wait()
    clock.advance(LIMIT_SECONDS + 1)
    for _ in range(10):
        await asyncio.sleep(0)
    result.set_result("late")
    assert await waiting == "late"


async def test_a_process_that_stood_still_waits_a_moment_only(clock):
    async def wait():
        async with FairTimeout(LIMIT_SECONDS):
            clock.advance(LIMIT_SECONDS + 1)
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await wait()


async def test_a_wait_without_a_limit_ends_with_its_result(clock):
    async with FairTimeout(None):
        clock.advance(1_000)
        await asyncio.sleep(0)


async def test_a_background_task_ends_with_its_owner():
    ended = asyncio.Event()

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = tasks.BackgroundTask()
    assert not task.is_running
    await task.stop()
    task.start(work(), "work")
    await asyncio.sleep(0)
    assert task.is_running
    await task.stop()
    assert ended.is_set()
    assert not task.is_running


async def test_a_background_task_knows_nothing_of_the_request_that_starts_it():
    seen = []

    async def work():
        seen.append(logging_config._context_names.get())

    task = tasks.BackgroundTask()
    with logging_config.bound(request_id="r1"):
        task.start(work(), "work")
    while task.is_running:
        await asyncio.sleep(0)
    assert seen == [{}]


async def test_what_is_cancelled_has_ended_and_its_error_is_dropped():
    async def stubborn():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            raise ValueError

    stubborn_task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await tasks.cancel_and_wait(stubborn_task)
    assert isinstance(stubborn_task.exception(), ValueError)


async def test_of_several_contenders_the_first_wins_and_the_others_end():
    ended = []

    async def loser():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("loser")

    async def winner():
        return "winner"

    assert await tasks.first_completed(loser(), winner()) == "winner"
    assert ended == ["loser"]


async def test_the_error_of_the_first_is_raised_and_of_two_at_once_the_one_named_first_counts():
    async def fail():
        raise ValueError

    async def succeed():
        return 1

    with pytest.raises(ValueError):
        await tasks.first_completed(fail(), succeed())
    assert await tasks.first_completed(succeed(), fail()) == 1


async def test_pauses_double_up_to_the_longest_and_start_again_after_a_success(monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(tasks.asyncio, "sleep", sleep)
    monkeypatch.setattr(tasks.random, "uniform", lambda least, most: most)
    backoff = tasks.Backoff(1, 5)
    for _ in range(4):
        await backoff.pause()
    backoff.reset()
    await backoff.pause()
    assert slept == [1, 2, 4, 5, 1]


async def test_error_of_a_contender_is_not_held_by_its_own_traceback():
    """What a failed turn holds, up to megabytes, would else wait for a collection of cycles."""

    class Failure(Exception):
        pass

    async def fail():
        raise Failure

    gc.disable()
    try:
        try:
            await tasks.first_completed(fail(), asyncio.Event().wait())
        except Failure as exc:
            error = weakref.ref(exc)
        await asyncio.sleep(0)  # the iteration that woke this test holds the results that it was woken for
        assert error() is None
    finally:
        gc.enable()


class WatcherError(Exception):
    pass


async def never():
    await asyncio.Event().wait()


async def raise_after(event):
    await event.wait()
    raise WatcherError


async def test_a_short_block_has_no_watcher():
    watchers = []

    async def watch():
        watchers.append("started")

    async with tasks.WatchedBlock(watch, 3600):
        await asyncio.sleep(0)
    assert watchers == []


async def test_a_watcher_ends_with_its_block():
    started, ended = asyncio.Event(), asyncio.Event()

    async def watch():
        started.set()
        try:
            await never()
        finally:
            ended.set()

    async with tasks.WatchedBlock(watch, 0):
        await started.wait()
    assert ended.is_set()
    assert asyncio.current_task().cancelling() == 0


async def watched(block, watch):
    async with tasks.WatchedBlock(watch, 0):
        await block()


async def raise_at_once():
    raise WatcherError


async def test_the_error_of_a_watcher_ends_the_block():
    ended = asyncio.Event()

    async def block():
        try:
            await never()
        finally:
            ended.set()

    with pytest.raises(WatcherError):
        await watched(block, raise_at_once)
    assert ended.is_set()
    assert asyncio.current_task().cancelling() == 0


async def test_an_error_while_the_block_is_ended_by_its_watcher_is_dropped():
    async def block():
        try:
            await never()
        finally:
            raise ValueError

    with pytest.raises(WatcherError):
        await watched(block, raise_at_once)


async def test_an_error_of_the_block_is_its_own():
    watching = asyncio.Event()

    async def watch():
        watching.set()
        await never()

    async def block():
        await watching.wait()
        raise ValueError

    with pytest.raises(ValueError):
        await watched(block, watch)


async def test_a_block_that_ends_in_the_iteration_of_its_watchers_error_is_not_ended_by_it():
    event, watching = asyncio.Event(), asyncio.Event()

    async def watch():
        watching.set()
        await raise_after(event)

    async with tasks.WatchedBlock(watch, 0):
        await watching.wait()
        event.set()
    await asyncio.sleep(0)
    assert asyncio.current_task().cancelling() == 0


async def test_a_watcher_that_returns_leaves_the_block_alone():
    returned = asyncio.Event()

    async def watch():
        returned.set()

    async with tasks.WatchedBlock(watch, 0):
        await returned.wait()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@pytest.mark.parametrize("has_error", [False, True])
async def test_a_task_that_is_cancelled_ends_as_cancelled_whatever_its_watcher_does(has_error):
    event, watching = asyncio.Event(), asyncio.Event()

    async def watch():
        watching.set()
        await raise_after(event)

    async def block():
        try:
            await never()
        finally:
            if has_error:
                event.set()
                await never()  # the watcher ends it

    running = asyncio.create_task(watched(block, watch))
    await watching.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_the_error_of_a_watcher_is_held_by_nothing_when_it_was_handled():
    gc.collect()
    gc.disable()
    try:
        try:
            await watched(never, raise_at_once)
        except WatcherError as exc:
            held = weakref.ref(exc)
        await asyncio.sleep(0)
        assert held() is None
    finally:
        gc.enable()


async def heedless(release):
    """Wait, whatever the task is told."""
    while not release.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await release.wait()


async def waits_for(event):
    await event.wait()


async def test_work_that_ends_in_time_has_its_end_and_its_error():
    async def fail():
        raise ZeroDivisionError

    await tasks.within(60, asyncio.sleep(0))
    with pytest.raises(ZeroDivisionError):
        await tasks.within(60, fail())


async def test_work_whose_time_is_up_is_cancelled_and_the_error_says_where_it_waited():
    with pytest.raises(tasks.Unfinished, match=r"not ended within 0.01 s, at waits_for:\d+ > Event.wait:\d+$"):
        await tasks.within(0.01, waits_for(asyncio.Event()))
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_work_that_ignores_its_cancellation_is_left_behind(monkeypatch):
    monkeypatch.setattr(tasks, "CANCEL_SECONDS", 0.01)
    release = asyncio.Event()
    with pytest.raises(tasks.Unfinished, match="heedless"):
        await tasks.within(0.01, heedless(release))
    (left,) = asyncio.all_tasks() - {asyncio.current_task()}
    release.set()
    await left


async def test_work_that_another_task_cancels_does_not_cancel_its_caller():
    async def cancelled():
        raise asyncio.CancelledError

    with pytest.raises(tasks.Unfinished, match="cancelled"):
        await tasks.within(60, cancelled())


async def test_work_ends_with_its_caller():
    async with asyncio.TaskGroup() as group:
        caller = group.create_task(tasks.within(60, waits_for(asyncio.Event())))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        caller.cancel()
    assert caller.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}
