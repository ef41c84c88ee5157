"""``manage.py sessions``: the live sessions, as a table."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any, Final

from rich.console import ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.table import Table

from relay.management.operator import OperatorCommand, add_json
from relay.management.operator_client import Fields, OperatorClient
from relay.management.terminal import console, counted, duration

COLUMNS: Final = ("session", "state", "queue", "viewers", "frames/s", "idle for", "age")
STYLES: Final = {"running": "green", "cancelling": "yellow", "queued": "cyan", "idle": "dim"}
WATCH_SECONDS: Final = 1.0
FRAME_LINES: Final = 3  # of a table: title, head, caption
WARNING_LINES: Final = 2  # more, if sessions are missing: a screen is at least half as wide as the warning
GAP: Final = 2  # characters between two columns
MIN_NAME_CHARACTERS: Final = 8


class Command(OperatorCommand):
    """Shows them once, or again each second."""

    help = "List the live sessions: state, queue, viewers, time since the last activity. Active ones come first.\n"
    examples = """  manage.py sessions                 once, as a table
  manage.py sessions --watch         updated every second, until Ctrl-C
  manage.py sessions --json          for programs: a list of objects
  manage.py sessions | cut -f1       in a pipe: tab-separated columns
"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the form of the list."""
        parser.add_argument("--watch", action="store_true", help="update every second, with frames per second")
        add_json(parser)

    def ask(self, client: OperatorClient, options: dict[str, Any]) -> None:
        """List, once or forever."""
        views = _views(client) if options["watch"] else iter([_View({}, *client.sessions(), 0.0)])
        if self.is_seen and not options["json"]:
            self._watch(views) if options["watch"] else console().print(next(views).shown())
            return
        for view in views:
            if view.warning:
                self.stderr.write(view.warning)
            if options["json"]:
                self.write_json(view.sessions)
            else:
                self.stdout.write("\n".join("\t".join(row) for row in (COLUMNS, *view.rows())))

    def _watch(self, views: Iterator[_View]) -> None:
        """Show what fits on the alternate screen; the terminal has its old lines again afterwards."""
        with Live(console=console(), screen=True, auto_refresh=False) as live:
            for view in views:
                live.update(view.shown(live.console.size), refresh=True)


class _View:
    """The sessions at one moment, and how far each log was at the moment before.

    Attributes:
        warning: says that some are missing; empty if none is.
    """

    def __init__(self, before: dict[str, int], sessions: list[Fields], warning: str, seconds: float) -> None:
        self.warning = warning
        self.sessions = sorted(sessions, key=lambda session: (_ORDER[_state(session)], session["idle_seconds"]))
        self.offsets = {f"{session['session_id']} {session['epoch']}": session["offset"] for session in sessions}
        self._before = before
        self._seconds = seconds

    def rows(self) -> Iterator[tuple[str, ...]]:
        for session in self.sessions:
            yield (
                session["session_id"],
                _state(session),
                str(len(session["queued"])),
                str(session["viewers"]),
                self._speed(f"{session['session_id']} {session['epoch']}"),
                duration(session["idle_seconds"]),
                duration(session["age_seconds"]),
            )

    def shown(self, screen: ConsoleDimensions | None = None) -> RenderableType:
        """Return the table, and the warning below it."""
        table = self.table(screen)
        return Group(table, self.warning) if self.warning else table

    def table(self, screen: ConsoleDimensions | None = None) -> Table:
        """Make a table of all sessions, or of so many of the first ones that the table fits the screen."""
        rows = list(self.rows())
        lines = FRAME_LINES + (WARNING_LINES if self.warning else 0)
        hidden = 0 if screen is None else max(0, len(rows) - max(1, screen.height - lines))
        # Without lines, and without the speed where there is none: so names of 36 characters fit 80 columns.
        table = Table(
            title=self._title(), title_justify="left", title_style="bold", caption_justify="left",
            box=None, padding=(0, GAP, 0, 0), pad_edge=False,
        )  # fmt: skip
        shown = [index for index, column in enumerate(COLUMNS) if screen is not None or column != "frames/s"]
        for column in (COLUMNS[index] for index in shown):
            table.add_column(column, justify="left" if column in ("session", "state") else "right", no_wrap=True)
        names = table.columns[0]
        if screen is None:  # each name in full, on several lines if it must be: it may be copied
            names.no_wrap, names.overflow = False, "fold"
        else:  # names are cut before states and numbers are
            others = (max(len(row[index]) for row in (COLUMNS, *rows)) for index in shown[1:])
            names.max_width = max(MIN_NAME_CHARACTERS, screen.width - sum(width + GAP for width in others))
        for row in rows[: len(rows) - hidden]:
            table.add_row(*(row[index] for index in shown), style=STYLES[row[1]])
        if hidden:
            table.caption = f"and {hidden} more"
        return table

    def _title(self) -> str:
        states = [_state(session) for session in self.sessions]
        working = len(states) - states.count("idle")
        viewers = sum(session["viewers"] for session in self.sessions)
        return f"{counted(len(states), 'session')}, {working} active, {counted(viewers, 'viewer')}"

    def _speed(self, name: str) -> str:
        if name not in self._before or not self._seconds:
            return ""
        return f"{(self.offsets[name] - self._before[name]) / self._seconds:.0f}"


_ORDER: Final = {"cancelling": 0, "running": 1, "queued": 2, "idle": 3}


def _state(session: Fields) -> str:
    if session["active"]:
        return str(session["active"]["status"])
    return "queued" if session["queued"] else "idle"


def _views(client: OperatorClient) -> Iterator[_View]:
    before: dict[str, int] = {}
    looked_at = 0.0
    while True:
        now = time.monotonic()
        view = _View(before, *client.sessions(), now - looked_at)
        yield view
        before, looked_at = view.offsets, now
        time.sleep(WATCH_SECONDS)
