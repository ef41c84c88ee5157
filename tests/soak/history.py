"""What happened in a run, in order, as anybody outside the gateway could see it. A checker needs nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class History:
    """A list of events; each has a ``kind``.

    ``said`` (message, content, text: what the agent answers), ``accepted`` (message, session, turn), ``opened``
    (viewer, session, dialect, cursor or ``None``), ``frame`` (viewer, frame), ``closed`` (viewer), ``asked`` (turn,
    content), ``store_lost`` (all of it; after: so many events had happened before), ``newest_lost`` (since: so many
    events had happened before what may be lost), ``leftover`` (what), ``fault`` (name) and ``log`` (worker, text), for
    the reader of a failure.
    """

    def __init__(self, events: list[Event] | None = None) -> None:
        self.events: list[Event] = events or []

    def add(self, kind: str, **fields: Any) -> None:
        self.events.append({"kind": kind, **fields})

    def save(self, path: Path) -> None:
        path.write_text("".join(json.dumps(event) + "\n" for event in self.events))

    @classmethod
    def load(cls, path: Path) -> History:
        return cls([json.loads(line) for line in path.read_text().splitlines()])
