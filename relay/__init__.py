"""The gateway, as a Django app: ``docs/django.md`` adds it to a project.

Its version stands here alone; the wheel and ``/health`` read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.conf import settings_from_environment

__version__ = "0.1.0"

__all__ = ["__version__", "settings_from_environment"]


def __getattr__(name: str) -> object:
    """Import what needs Django when it is asked for: the parent of workers does without."""
    if name == "settings_from_environment":
        from relay.conf import settings_from_environment

        return settings_from_environment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
