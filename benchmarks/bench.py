"""What all measurements of a run share: the cores, the stores, and a migrated database to copy."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import Cores
from benchmarks.processes import ROOT, environment
from benchmarks.stores import Store
from benchmarks.systems import KEEPS_TRANSCRIPTS, System


@dataclass(frozen=True)
class Bench:
    """The place where systems are measured.

    Attributes:
        database: an empty SQLite file with the gateway's tables, of which each measurement gets a copy; ``None`` if no
            system writes transcripts.
        stores: by kind, those that systems need and that could be started.
        lacking: why the others could not.
    """

    cores: Cores
    database: Path | None = None
    stores: Mapping[str, Store] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def set_up(cls, systems: Sequence[System]) -> Iterator[Bench]:
        """Start what the systems need, and stop it at the end."""
        cores = Cores.choose()
        stores: dict[str, Store] = {}
        lacking: dict[str, str] = {}
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            try:
                for kind in sorted({system.store for system in systems if system.store is not None}):
                    try:
                        stores[kind] = Store.start(kind, cores.load, Path(folder))
                    except RuntimeError as exc:
                        lacking[kind] = str(exc)
                needs_database = any(KEEPS_TRANSCRIPTS in system.can for system in systems)
                database = _migrated(Path(folder) / "empty.sqlite3") if needs_database else None
                yield cls(cores, database, stores, lacking)
            finally:
                for store in stores.values():
                    store.stop()

    def missing(self, system: System) -> str | None:
        """Say why a system cannot be measured here; ``None`` if it can."""
        return system.missing() or self.lacking.get(system.store or "")


def _migrated(path: Path) -> Path:
    env = {**environment(), "GATEWAY__DATABASE_URL": f"sqlite:///{path}", "GATEWAY__LOG_LEVEL": "WARNING"}
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True)
    return path
