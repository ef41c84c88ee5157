"""Text for a terminal."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # an answer must not steer the terminal
_SURROGATE_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def console() -> Console:
    """Return a console that shows texts as they are, on the process' standard output."""
    return Console(file=sys.stdout, markup=False, emoji=False, highlight=False)


def printable(text: str) -> str:
    """Make foreign text fit for the screen: halves of characters joined, control characters left out."""
    joined = _SURROGATE_PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
    encoding = sys.stdout.encoding or "utf-8"
    return _CONTROL.sub("", joined).encode(encoding, "replace").decode(encoding)


def counted(number: int, noun: str) -> str:
    """Write a number of things: ``1 session``, ``2 sessions``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """Write a time as a person says it: ``12 s``, ``3 min``, ``2 h``, ``5 d``."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


@contextmanager
def quiet_pipe() -> Iterator[None]:
    """End the command without words when the reader of its output has left, as ``head`` does.

    Raises:
        SystemExit: with the status that a shell gives a program that SIGPIPE has ended.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes at its end, too: https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None
