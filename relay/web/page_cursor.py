"""The cursor of a page of a list, as clients get it: opaque, and safe in an address. Pure."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Final

from relay.exceptions import ParameterInvalid

MAX_NUMBER: Final = 2**63  # a database's largest, and one
_REFUSAL: Final = "cursor is not one that a page gave."


def page_cursor(after: str) -> str:
    """Write the cursor of the page after a position."""
    return base64.urlsafe_b64encode(after.encode()).decode()


def read_page_cursor(text: str) -> str:
    """Read the position.

    Raises:
        ParameterInvalid: no page gave this cursor.
    """
    try:
        return base64.b64decode(text, altchars=b"-_", validate=True).decode()
    except ValueError as exc:  # binascii.Error and UnicodeError are such
        raise ParameterInvalid(_REFUSAL) from exc


def read_position(text: str) -> tuple[datetime, int] | None:
    """Read the position of a row: a moment and a number; an empty cursor is before the first page.

    Raises:
        ParameterInvalid: no page gave this cursor.
    """
    if not text:
        return None
    try:
        moment, number = read_page_cursor(text).split(" ")
        return datetime.fromisoformat(moment).astimezone(UTC), int(number) % MAX_NUMBER
    except (ValueError, OverflowError) as exc:
        raise ParameterInvalid(_REFUSAL) from exc


def position_cursor(moment: datetime, number: int) -> str:
    """Write the cursor of the page after a row."""
    return page_cursor(f"{moment.isoformat()} {number}")
