"""Twisted's reactor on a uvloop event loop.

Whoever imports ``twisted.internet.reactor`` first decides which it is, and daphne's app does so as Django starts: the
gateway's app comes before it in ``INSTALLED_APPS`` and calls ``install`` on import.
"""

from __future__ import annotations

import asyncio
import sys

from twisted.internet import asyncioreactor


def install() -> None:
    """Install the reactor, unless somebody was first (the ``daphne`` command, for one)."""
    if "twisted.internet.reactor" not in sys.modules:
        asyncioreactor.install(_new_event_loop())


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # pragma: no cover - there is none for Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
