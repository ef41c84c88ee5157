"""System checks: a wrong start is stopped. ``startup`` has those of each start, ``deployment`` those of production."""

from __future__ import annotations

import logging
import sys

from django.core.checks import run_checks

logger = logging.getLogger(__name__)

_COMMANDS = ("manage.py", "agent-gateway", "relay/__main__.py")  # they run the checks themselves


def stop_on_errors() -> None:
    """Run the system checks as ``manage.py`` would: log warnings, and exit with the errors' text.

    Commands of ``manage.py`` and ``agent-gateway`` have printed the warnings already.
    """
    # Without a database: an ASGI server may import the application in its event loop, where Django forbids queries.
    found = [message for message in run_checks(databases=[]) if not message.is_silenced()]
    errors = [message for message in found if message.is_serious()]
    if errors:
        lines = "\n".join(str(error) for error in errors)
        sys.exit(f"The gateway does not start:\n{lines}")
    if not sys.argv[0].endswith(_COMMANDS):
        for message in found:
            logger.warning("system check: %s", message)
