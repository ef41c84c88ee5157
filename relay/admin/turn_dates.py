"""The years, months and days above the list of turns, without counting rows: two lookups in an index."""

from __future__ import annotations

import calendar
from datetime import datetime
from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.db.models import Max, Min

from relay.models import Turn

Link = tuple[str, str]  # words, query


def date_links(listed: ChangeList) -> list[Link]:
    """Offer the years in which there are turns; of a chosen year its months; of a chosen month its days."""
    year, month = (_number(listed.params.get(f"ended_at__{part}")) for part in ("year", "month"))

    def link(words: str, **parts: int | None) -> Link:
        names = {f"ended_at__{part}": value for part, value in parts.items()}
        query: str = listed.get_query_string(names, ["p"])
        return words, query

    if year is None:
        return [link(str(number), year=number) for number in _years()]
    back = link("All dates", year=None, month=None, day=None)
    if month is None:
        return [back, *(link(calendar.month_name[number], month=number) for number in range(1, 13))]
    days = range(1, calendar.monthrange(year, month)[1] + 1)
    here = link(f"{calendar.month_name[month]} {year}", day=None)
    return [back, link(str(year), month=None, day=None), here, *(link(str(day), day=day) for day in days)]


def _years() -> range:
    ends: dict[str, datetime | None] = Turn.objects.order_by().aggregate(first=Min("ended_at"), last=Max("ended_at"))
    first, last = ends["first"], ends["last"]
    return range(first.year, last.year + 1) if first is not None and last is not None else range(0)


def _number(value: Any) -> int | None:  # as a link has it
    text = value[-1] if isinstance(value, list) else value
    return int(text) if text else None
