"""``manage.py migrate`` by several processes at once: one migrates, the others wait, and all end well."""

from __future__ import annotations

import contextlib
import errno
import io
import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor

from gateway_project.management.commands import migrate
from relay.database import migration_lock
from tests import processes
from tests.databases import default_database

PROCESSES = 4


@contextlib.contextmanager
def migrating(url: str) -> Iterator[processes.Process]:
    """A process that migrates a database."""
    process = processes.Process(["manage.py", "migrate", "--no-input"], GATEWAY__DATABASE_URL=url)
    process.launch()
    with contextlib.ExitStack() as stack:
        stack.push(process)
        yield process


def missing() -> int:
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


@pytest.fixture
def held(database):
    """The lock, in the hands of a connection that is not the test's."""
    other = connections["default"].copy()
    with migration_lock.migration_lock(other, pytest.fail):
        yield
    other.close()


@pytest.mark.parametrize("is_migrated", [False], indirect=True)
def test_several_processes_at_once_all_end_well(database):
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(migrating(database)) for _ in range(PROCESSES)]
        codes = [process.wait(processes.START_SECONDS) for process in running]
        said = [process.output() for process in running]
    assert codes == [0] * PROCESSES, said
    assert sum("Applying sessions.0001_initial... OK" in text for text in said) == 1
    assert missing() == 0


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_postgresql_is_reached_by_its_socket(database):
    """``%2F`` as in libpq's own addresses."""
    (folder,) = connection.cursor().execute("SHOW unix_socket_directories").fetchone()
    name = database.rpartition("/")[2]
    port = database.rpartition(":")[2].partition("/")[0]
    with default_database(f"postgres://test@{quote(folder, safe='')}:{port}/{name}"):
        assert missing() == 0
        assert connection.settings_dict["HOST"] == folder


@pytest.mark.parametrize("is_migrated", [False], indirect=True)
def test_a_process_waits_for_the_one_that_has_the_lock(held, database):
    with migrating(database) as waiting:
        while "Another process is migrating this database" not in waiting.output():
            assert waiting.is_running, waiting.output()
            time.sleep(0.05)
        assert missing() > 0
        waiting.kill()


def test_a_holder_that_does_not_end_is_not_waited_for_without_end(held, database, monkeypatch):
    monkeypatch.setattr(migrate, "migration_lock", in_no_time)
    with pytest.raises(CommandError, match="Another process is migrating this database and does not end"):
        call_command("migrate", stdout=io.StringIO())


def in_no_time(lock_of, on_wait):
    return migration_lock.migration_lock(lock_of, on_wait, wait_seconds=0.1)


def test_the_lock_is_free_again_after_it(database):
    call_command("migrate", verbosity=0)
    with migration_lock.migration_lock(connections["default"].copy(), pytest.fail):
        assert missing() == 0


def test_a_database_in_memory_has_no_lock(django_db_blocker):
    with django_db_blocker.unblock(), default_database("sqlite://:memory:"), contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(migration_lock.migration_lock(connections["default"], pytest.fail))
        call_command("migrate", verbosity=0)
        assert missing() == 0


def test_a_file_system_without_locks_is_migrated_without_one(tmp_path, django_db_blocker, monkeypatch, caplog):
    def refuse(descriptor, operation):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(migration_lock.fcntl, "flock", refuse)
    with django_db_blocker.unblock(), default_database(f"sqlite:///{tmp_path}/db.sqlite3"):
        call_command("migrate", verbosity=0)
        assert missing() == 0
    assert "cannot be locked (Operation not supported)" in caplog.text
