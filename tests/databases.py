"""Real databases under test: a SQLite file, and a PostgreSQL server of our own in a temporary folder."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from uuid import uuid4

import psycopg
from django.core.management import call_command
from django.db import connections

from relay.database.connection import database
from tests import leftovers
from tests.processes import free_port
from tests.shared import SHARED

START_SECONDS = 60.0


def _programs() -> Path:
    """The folder of PostgreSQL's programs: Debian keeps them out of the search path."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    assert folders, "no PostgreSQL: scripts/install-postgresql.sh installs one"
    return folders[-1]


class PostgreSQL:
    """A server on a free port of loopback; it keeps nothing, and can be killed, frozen and started again."""

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
        self._user = "nobody" if os.getuid() == 0 else None  # it refuses to run as root
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        data = self.folder / "data"
        if not data.exists():
            if self._user:
                shutil.chown(self.folder, self._user)
            initdb = self._run("initdb", "-D", str(data), "-U", "test", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
            assert initdb.wait() == 0, f"PostgreSQL has made no folder for its data:\n{self._output()}"
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k", str(self.folder)]
        self._process = self._run("postgres", "-D", str(data), "-p", str(self.port), *options)
        give_up_at = time.monotonic() + START_SECONDS
        while not self._answers():
            is_running = self._process.poll() is None and time.monotonic() < give_up_at
            assert is_running, f"PostgreSQL did not start:\n{self._output()}"
            time.sleep(0.05)
        return self

    def new_database(self, template: str = "template1") -> str:
        """Make a database, empty or as another one, and give its address."""
        name = f"test_{uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgres://test@127.0.0.1:{self.port}/{name}"

    def execute(self, command: str, name: str = "postgres") -> None:
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            connection.execute(command)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)  # at once, with all its children
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        group = "nogroup" if self._user else None
        with (self.folder / "output").open("ab") as output:
            return leftovers.start(
                [str(_programs() / program), *arguments], folder=self.folder, end_by=signal.SIGQUIT,
                user=self._user, group=group, cwd=self.folder, stdout=output, stderr=output,
            )  # fmt: skip

    def _output(self) -> str:
        return (self.folder / "output").read_text(errors="replace")

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


@functools.cache
def postgresql() -> PostgreSQL:
    """The server that tests share, started once for the whole run."""
    server = PostgreSQL().start()
    SHARED.callback(server.close)
    return server


def new_database(kind: str, folder: Path, *, is_migrated: bool = True) -> str:
    """Make a database of a kind, without rows, and give its address."""
    if kind == "postgresql":
        template = _migrated(kind).rpartition("/")[2] if is_migrated else "template1"
        return postgresql().new_database(template)
    file = folder / "db.sqlite3"
    if is_migrated:
        shutil.copy(_migrated(kind).removeprefix("sqlite:///"), file)
    return f"sqlite:///{file}"


@functools.cache
def _migrated(kind: str) -> str:
    """The address of a database that others are copies of."""
    folder = Path(tempfile.mkdtemp(prefix="migrated-"))
    SHARED.callback(shutil.rmtree, folder, ignore_errors=True)
    url = new_database(kind, folder, is_migrated=False)
    with default_database(url):
        call_command("migrate", verbosity=0)
    return url


@contextmanager
def default_database(url: str) -> Iterator[None]:
    """Use a database in this process, in place of the test run's."""
    former = connections.settings["default"]
    connections["default"].close()
    del connections["default"]
    connections.settings["default"] = connections.configure_settings({"default": database(url)})["default"]
    try:
        yield
    finally:
        connections["default"].close()
        del connections["default"]
        connections.settings["default"] = former
