"""Limits of a run: whatever waits for too long ends with an error that says what it waited for, and where."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


@asynccontextmanager
async def limited(seconds: float, what: Callable[[], str]) -> AsyncIterator[None]:
    """Limit a block. Once its time is over, the error has the words of ``what``, and where every task and thread is."""
    stacks = ""

    def look() -> None:
        nonlocal stacks
        stacks = _stacks()

    looking = asyncio.get_running_loop().call_later(seconds, look)  # before the block's own tasks are cancelled
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError as exc:
        if not limit.expired():
            raise
        raise AssertionError(f"not within {seconds:.0f} s: {what()}\n{stacks or _stacks()}") from exc
    finally:
        looking.cancel()


def _stacks() -> str:
    """Where does every task wait, and every other thread?"""
    text = io.StringIO()
    for task in asyncio.all_tasks():
        task.print_stack(file=text)
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        if ident != threading.get_ident():
            text.write(f"thread {names.get(ident)}:\n{''.join(traceback.format_stack(frame))}")
    return text.getvalue()
