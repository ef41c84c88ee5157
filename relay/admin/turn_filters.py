"""The filters of the list of turns. Each is answered by an index, and none asks the database for its choices."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest

from relay.admin.links import NO_STATUS
from relay.admin.reasons import WORDS
from relay.admin.site import NotOffered
from relay.models import FAILED, Turn

ANY_FAILURE: Final = "failed"
SPANS: Final = {
    "15m": ("Last 15 minutes", timedelta(minutes=15)),
    "1h": ("Last hour", timedelta(hours=1)),
    "1d": ("Last day", timedelta(days=1)),
    "7d": ("Last 7 days", timedelta(days=7)),
}


class ResultFilter(SimpleListFilter):
    """Turns that failed, or that ended in one way. Arguments that are ``Any`` are Django's own."""

    title = "result"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(ANY_FAILURE, "Failed, for any reason"), *WORDS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Turn]) -> QuerySet[Turn]:
        value = self.value()
        if value is None:
            return queryset
        return queryset.filter(FAILED) if value == ANY_FAILURE else queryset.filter(reason=value)


class StatusFilter(SimpleListFilter):
    """Turns by the HTTP status of the agent's response. It appears once a link has chosen one."""

    title = "agent's status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        value = self.value()
        return [] if value is None else [(value, "No status" if value == NO_STATUS else f"HTTP {value}")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Turn]) -> QuerySet[Turn]:
        value = self.value()
        if value is None:
            return queryset
        if value == NO_STATUS:
            return queryset.filter(upstream_status__isnull=True)
        if re.fullmatch("[1-9][0-9]{2}", value) is None:
            raise NotOffered("This link names a status that is none. Choose it from the list.")
        return queryset.filter(upstream_status=int(value))


class LastFilter(SimpleListFilter):
    """Turns that ended a short time ago."""

    title = "time"
    parameter_name = "last"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, words) for name, (words, _) in SPANS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Turn]) -> QuerySet[Turn]:
        value = self.value()
        if value is None:
            return queryset
        if value not in SPANS:
            raise NotOffered("This link contains an unknown time range. Choose one from the list.")
        return queryset.filter(ended_at__gte=datetime.now(UTC) - SPANS[value][1])
