"""The counts above the list of turns: by session, by user, by result. One query over a bounded number of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final

import msgspec
from django.contrib.admin.views.main import ChangeList

from relay.admin.links import ending
from relay.admin.reasons import words_of

MAX_COUNTED: Final = 5_000  # of the newest that the filters leave
MAX_ROWS: Final = 5  # of each table


class Count(msgspec.Struct, frozen=True):
    """A row: its words, the number of turns, and the address of the list of these alone."""

    words: str
    number: int
    url: str


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """The tables, and of how many turns they are. ``is_all``: of all that the filters leave."""

    tables: list[tuple[str, list[Count], int]]
    number: int
    is_all: bool


def counts(listed: ChangeList) -> Counts:
    """Count the turns that the list's filters leave, at most ``MAX_COUNTED`` of them, the newest."""
    newest = listed.queryset.order_by("-ended_at", "-pk")
    rows = list(newest.values_list("session_id", "subject", "reason", "upstream_status")[: MAX_COUNTED + 1])
    found = rows[:MAX_COUNTED]

    def address(**filters: str) -> str:
        query: str = listed.get_query_string(filters, ["p", "all"])
        return query

    tables = [
        _table("Result", (row[2:] for row in found), lambda key: words_of(*key), lambda key: address(**ending(*key))),
        _table("User", (row[1] for row in found if row[1]), str, lambda key: address(subject=key)),
        _table("Session", (row[0] for row in found), str, lambda key: address(session_id=key)),
    ]
    return Counts(tables=tables, number=len(found), is_all=len(rows) <= MAX_COUNTED)


def _table(
    title: str, keys: Iterable[Hashable], words: Callable[[Any], str], url: Callable[[Any], str]
) -> tuple[str, list[Count], int]:
    """Return the most frequent keys, and how many others there are. (``Any``: each table has keys of its own kind.)"""
    counted = Counter(keys)
    rows = [Count(words(key), number, url(key)) for key, number in counted.most_common(MAX_ROWS)]
    return title, rows, len(counted) - len(rows)
