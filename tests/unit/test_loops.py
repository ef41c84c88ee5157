"""The running loop, whichever it is."""

import asyncio
import threading

import pytest

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
