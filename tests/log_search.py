"""The logs of a test run are searched for what must not be in them: keys, tickets, prompts, answers.

Tests' clients say what they say and hear; the logs of the processes that tests start, and what is logged in this one,
are searched at the end of each. ``tests/conftest.py`` fails the run for what was found.
"""

from __future__ import annotations

import logging
import re

MIN_LENGTH = 10  # a shorter text may stand in a log by chance
MAX_TEXTS = 500  # the first of a run: each line of a log is searched for each of them
CREDENTIALS = re.compile(r"ticket=[^\s\"&]|gateway\.ticket\.|eyJ[\w-]{10}|test-internal-key|change-me-internal-key")

found: list[str] = []
_texts: set[str] = set()


def look_for(text: str) -> None:
    """Remember a prompt or an answer."""
    if len(text) >= MIN_LENGTH and len(_texts) < MAX_TEXTS:
        _texts.add(text[:200])


def search(log: str, whose: str) -> None:
    """Search a log."""
    credential = CREDENTIALS.search(log)
    if credential is not None:
        found.append(f"{whose}: {log[max(credential.start() - 100, 0) : credential.end() + 100]!r}")
    found.extend(f"{whose}: {text!r}" for text in _texts if text in log)


class SearchHandler(logging.Handler):
    """Searches what this process logs."""

    def emit(self, record: logging.LogRecord) -> None:
        search(logging.Formatter().format(record), record.name)
