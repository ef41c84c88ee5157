"""The asyncio idioms, and the running loop, whichever it is."""

import asyncio
import gc
import threading
import weakref

import pytest

from relay import tasks
from relay.tasks import running_loop


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
