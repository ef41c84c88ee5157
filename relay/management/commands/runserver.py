"""``manage.py runserver``: under the server that production has; Django's own where that is not installed."""

from __future__ import annotations

from django.apps import apps

from relay import extras

if extras.is_installed("serve"):
    from relay.server.runserver import Command
elif apps.is_installed("django.contrib.staticfiles"):
    from django.contrib.staticfiles.management.commands.runserver import Command  # type: ignore[assignment]
else:
    from django.core.management.commands.runserver import Command  # type: ignore[assignment]

__all__ = ["Command"]
