"""Conversations, to find one by its title or its user. They are read-only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from relay.admin.links import live_url, turns_url
from relay.admin.search import NamesFirst
from relay.models import Conversation


class ConversationAdmin(NamesFirst):
    """The Conversations page. Arguments that are ``Any`` are Django's own."""

    list_display = ("named", "user", "session", "started", "used")
    list_display_links = None
    name_fields = ("session_id", "subject")
    search_fields = ("title",)
    search_help_text = "The full name of a session or user, or words in a title."
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ("used",)  # by the column that an index has in order
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Conversations", **(extra_context or {})})

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        return lookup == "subject"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        return super().get_queryset(request).defer("metadata")

    @admin.display(description="title")
    def named(self, conversation: Conversation) -> SafeString:
        title = conversation.title or "(no title)"
        return format_html('<a href="{}">{}</a>', turns_url(session_id=conversation.session_id), title)

    @admin.display(description="user")
    def user(self, conversation: Conversation) -> SafeString | str:
        if not conversation.subject:
            return "–"
        return format_html('<a href="{}">{}</a>', turns_url(subject=conversation.subject), conversation.subject)

    @admin.display(description="session")
    def session(self, conversation: Conversation) -> SafeString:
        return format_html('<a href="{}">{}</a>', live_url(conversation.session_id), conversation.session_id)

    @admin.display(description="started")
    def started(self, conversation: Conversation) -> str:
        return f"{conversation.created:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="last used", ordering="updated")
    def used(self, conversation: Conversation) -> str:
        return f"{conversation.updated:%Y-%m-%d %H:%M:%S}"
