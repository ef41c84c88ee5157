"""Addresses of the admin's pages."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from django.contrib.admin.utils import quote
from django.urls import reverse

NO_STATUS: Final = "none"


def live_url(session_id: str) -> str:
    """Return the page of a live session."""
    return reverse("admin:relay_livesession_change", args=[quote(session_id)])


def turns_url(**filters: str) -> str:
    """Return the list of turns, filtered: by ``session_id``, ``subject``, ``reason``, ``status`` or ``last``."""
    return f"{reverse('admin:relay_turn_changelist')}?{urlencode(filters)}"


def ending(reason: str, status: int | None) -> dict[str, str]:
    """Return the filters for turns with this reason and, if there is one, this status of the agent."""
    return {"reason": reason, "status": str(status or NO_STATUS)}
