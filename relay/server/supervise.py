"""The program of the parent of ``serve --workers``, which ``relay.server.workers`` turns its own process into."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])
if __name__ == "__main__" and ROOT not in sys.path:  # started with -P, because modules of this folder hide Python's
    sys.path.insert(0, ROOT)

from relay.server.supervisor import Supervisor  # noqa: E402 - found by the line above

STANDARD = frozenset(vars(logging.makeLogRecord({})))


class JsonFormatter(logging.Formatter):
    """Writes lines as the workers do, without their libraries."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one JSON object."""
        return json.dumps({**_extra(record), **_common(record)})


class TextFormatter(logging.Formatter):
    """Writes lines for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the time, the level, the event, and its fields."""
        common = _common(record)
        fields = " ".join(f"{name}={value}" for name, value in _extra(record).items())
        event = f"{common['event']:<40} [{record.name}] {fields}".rstrip()
        return f"{common['timestamp']} [{common['level']:<9}] {event}"


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in STANDARD}


def _common(record: logging.LogRecord) -> dict[str, str]:
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
    return {
        "event": record.getMessage(),
        "level": record.levelname.lower(),
        "logger": record.name,
        "timestamp": moment.replace("+00:00", "Z"),
    }


def _log_to_standard_error(*, level: str, is_for_people: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(TextFormatter() if is_for_people else JsonFormatter())
    logging.raiseExceptions = False  # nothing reads standard error any more: continue without
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("relay").setLevel(level)


def main() -> int:
    """Keep the workers; return the exit code."""
    parser = argparse.ArgumentParser(description="The parent of serve --workers.")
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--listener", type=int, required=True, help="number of the listening socket")
    parser.add_argument("--unlink", metavar="PATH", help="of the Unix socket, removed at the end")
    parser.add_argument("--is-foreign", action="store_true", help="another program has the socket open, too")
    parser.add_argument("--log-level", default="INFO")
    parser.add_argument("--log-text", action="store_true", help="log lines for people")
    parser.add_argument("command", nargs="+", help="of a worker")
    options = parser.parse_args()
    _log_to_standard_error(level=options.log_level, is_for_people=options.log_text)
    with socket.socket(fileno=options.listener) as listener:
        supervisor = Supervisor(options.command, options.workers, listener, is_own=not options.is_foreign)
        exit_code = asyncio.run(supervisor.run())
    if options.unlink is not None:
        Path(options.unlink).unlink(missing_ok=True)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
