"""Addresses of the admin's pages."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib.admin.utils import quote
from django.urls import reverse


def live_url(session_id: str) -> str:
    """Give the page of a live session."""
    return reverse("admin:relay_livesession_change", args=[quote(session_id)])


def turns_url(**filters: str) -> str:
    """Give the list of turns, filtered: by ``session_id``, ``subject``, ``reason`` or ``last``."""
    return f"{reverse('admin:relay_turn_changelist')}?{urlencode(filters)}"
