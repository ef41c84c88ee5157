"""Parts of the commands that read and erase transcripts: ages, and the database's refusal in words."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from django.core.management.base import CommandError
from django.db import DatabaseError

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def age(text: str) -> timedelta:
    """Read ``30d``: minutes, hours, days or weeks."""
    found = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is not a number followed by m, h, d or w, such as 30d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


@contextmanager
def refusal_said() -> Iterator[None]:
    """Turn the database's refusal into a command's error, with advice."""
    try:
        yield
    except DatabaseError as exc:
        raise CommandError(
            f"The database refused: {exc}\nIs GATEWAY__DATABASE_URL right? Has manage.py migrate been run?"
        ) from exc
