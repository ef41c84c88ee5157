"""Ended turns: found, read like a conversation, exported. They are read-only."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, cast

from django.contrib import admin
from django.contrib.admin.options import IS_POPUP_VAR, IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.defaultfilters import truncatechars
from django.urls import URLPattern, path
from django.utils.html import format_html

from relay.admin.chart import draw
from relay.admin.export import as_csv
from relay.admin.links import live_url, turns_url
from relay.admin.reasons import badge, words_of
from relay.admin.search import NamesFirst
from relay.admin.site import NotOffered
from relay.admin.turn_counts import counts
from relay.admin.turn_dates import date_links
from relay.admin.turn_filters import LastFilter, ResultFilter, StatusFilter
from relay.models import Turn

# The lookups of the list's own filters. Django would take any other from a link, over texts that strangers wrote.
LOOKUPS: Final = frozenset(
    {"reason", "reason__exact", "reason__isnull", "ended_at__isnull", "ended_at__gte", "ended_at__lt"}
    | {"last", "status", "session_id", "subject"}
    | {f"ended_at__{part}" for part in ("year", "month", "day")}
)
TURNS_BEFORE: Final = 2  # of the session, shown above the one that is read
TURNS_AFTER: Final = 6
MESSAGE_CHARACTERS: Final = 80  # in the list; a turn's page has all of it
ERROR_CHARACTERS: Final = 160


class TurnAdmin(NamesFirst):
    """The Turns pages. Arguments that are ``Any`` are Django's own."""

    list_display = ("when", "end", "session", "asked", "first_token", "duration", "usage")
    list_filter = (LastFilter, ResultFilter, StatusFilter)
    name_fields = ("session_id", "turn_id", "subject")
    search_fields = ("message", "answer")
    search_help_text = "The full name of a session, turn or user, or words in a message or an answer."
    date_hierarchy = "ended_at"
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # a link would make the database count all rows for each filter
    actions = ("export",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # Limits of the lookups that a link may ask for.

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        return lookup in LOOKUPS

    def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
        return False  # nothing refers to a turn

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Make the list; Django's would drop filters that it cannot read, and show all turns silently."""
        if IS_POPUP_VAR in request.GET:
            raise NotOffered("Turns cannot be selected in a pop-up window.")
        try:
            return super().get_changelist_instance(request)
        except (IncorrectLookupParameters, ValueError, OverflowError) as exc:
            raise NotOffered("This link contains an invalid filter. Choose a filter from the list.") from exc

    def get_queryset(self, request: HttpRequest) -> QuerySet[Turn]:
        return super().get_queryset(request).defer("answer", "events")  # may be megabytes, and not shown in the list

    # Pages.

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """List turns under the picture of the last hour, and the counts of those that the filters leave."""
        response: Any = super().changelist_view(
            request, {"title": "Turns", "chart": draw(datetime.now(UTC)), **(extra_context or {})}
        )
        listed = getattr(response, "context_data", {}).get("cl")  # none in a file, nor on a page that asks first
        if listed is not None:
            names = ("session_id", "subject")
            chosen = [
                (name, listed.params[name], listed.get_query_string(remove=[name, "p"]))
                for name in names
                if name in listed.params
            ]
            response.context_data |= {"counts": counts(listed), "dates": date_links(listed), "chosen": chosen}
        return cast(HttpResponse, response)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a turn within its conversation."""
        turn = self.get_object(request, object_id)
        context = _context(turn) if turn is not None else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **context})

    def get_urls(self) -> list[URLPattern]:
        """Return Django's, and an address for pages that know a turn by its own name."""
        named = path("named/<turn_id>/", self.admin_site.admin_view(self.named_view), name="relay_turn_named")
        return [named, *super().get_urls()]

    def named_view(self, request: HttpRequest, turn_id: str) -> HttpResponse:
        """Lead to a turn's page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        turn = Turn.objects.filter(turn_id=turn_id).only("pk").first()
        if turn is None:
            raise NotOffered("This turn is not in the database, or not yet. Reload the page in a moment.")
        return redirect("admin:relay_turn_change", turn.pk)

    @admin.action(description="Export as CSV", permissions=["view"])
    def export(self, request: HttpRequest, turns: QuerySet[Turn]) -> Any:
        """Answer with the chosen turns as a file."""
        return as_csv(turns)

    @admin.display(description="ended", ordering="ended_at")
    def when(self, turn: Turn) -> str:
        return f"{turn.ended_at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="session", ordering="session_id")
    def session(self, turn: Turn) -> str:
        link = format_html('<a href="{}">{}</a>', turns_url(session_id=turn.session_id), turn.session_id)
        if not turn.subject:
            return link
        return format_html(
            '{}<br><a class="relay-user" href="{}">{}</a>', link, turns_url(subject=turn.subject), turn.subject
        )

    @admin.display(description="message")
    def asked(self, turn: Turn) -> str:
        return truncatechars(turn.message, MESSAGE_CHARACTERS)

    @admin.display(description="result", ordering="reason")
    def end(self, turn: Turn) -> str:
        why = truncatechars(turn.error, ERROR_CHARACTERS)
        return format_html('{}<div class="relay-why">{}</div>', badge(turn), why) if why else badge(turn)

    @admin.display(description="first token", ordering="first_token_seconds")
    def first_token(self, turn: Turn) -> str:
        return _seconds(turn.first_token_seconds)

    @admin.display(description="duration", ordering="duration_seconds")
    def duration(self, turn: Turn) -> str:
        return _seconds(turn.duration_seconds)

    @admin.display(description="tokens")
    def usage(self, turn: Turn) -> str:
        """Return the frames of text, and the model's tokens where the agent reports them."""
        frames = "–" if turn.tokens is None else str(turn.tokens)
        if turn.input_tokens is None and turn.output_tokens is None:
            return frames
        model = f"{_number(turn.input_tokens)} in, {_number(turn.output_tokens)} out"
        return format_html('{}<br><span class="quiet">{}</span>', frames, model)


def _context(turn: Turn) -> dict[str, Any]:
    """Describe a turn's page to its template."""
    conversation = _conversation(turn)
    return {
        "conversation": conversation,
        "title": "Turn",
        "subtitle": f"{words_of(turn.reason, turn.upstream_status)}, {turn.ended_at:%Y-%m-%d %H:%M:%S}",
        "shown": [(each, badge(each)) for each in conversation],
        "live_url": live_url(turn.session_id),
        "session_url": turns_url(session_id=turn.session_id),
        "user_url": turns_url(subject=turn.subject),
    }


def _conversation(turn: Turn) -> list[Turn]:
    """Return the turns of the same session around this one, in the order in which they ended."""
    session = Turn.objects.filter(session_id=turn.session_id).exclude(pk=turn.pk)
    before = session.filter(ended_at__lte=turn.ended_at).order_by("-ended_at", "-pk")[:TURNS_BEFORE]
    after = session.filter(ended_at__gt=turn.ended_at).order_by("ended_at", "pk")[:TURNS_AFTER]
    return [*reversed(before), turn, *after]


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"
