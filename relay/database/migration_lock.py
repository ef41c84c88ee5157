"""One ``migrate`` at a time for each database, when several processes start together and each migrates first.

The lock ends with its process, however that ends, and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from django.core.management.base import CommandError
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLite
from django.db.backends.utils import CursorWrapper

logger = logging.getLogger(__name__)

WAIT_SECONDS: Final = 600  # for other processes; a migration of many transcripts takes minutes
LOOK_SECONDS: Final = 0.1
_KEY: Final = int.from_bytes(b"relaymig")  # PostgreSQL names advisory locks by a number of eight bytes


@contextlib.contextmanager
def migration_lock(
    connection: BaseDatabaseWrapper, on_wait: Callable[[], None], wait_seconds: float = WAIT_SECONDS
) -> Iterator[None]:
    """Hold the lock of a database; ``on_wait`` is called once if another process has it.

    Raises:
        CommandError: another process held it for ``WAIT_SECONDS``.
    """
    with contextlib.ExitStack() as stack:
        if connection.vendor == "postgresql":
            stack.enter_context(_in_postgresql(connection, on_wait, wait_seconds))
        elif isinstance(connection, SQLite) and not connection.is_in_memory_db():
            file = Path(connection.settings_dict["NAME"])
            stack.enter_context(_beside_file(file, on_wait, wait_seconds))
        yield


@contextlib.contextmanager
def _in_postgresql(connection: BaseDatabaseWrapper, on_wait: Callable[[], None], wait_seconds: float) -> Iterator[None]:
    """Hold an advisory lock within a transaction, on a connection of its own.

    Behind PgBouncer, which shares connections by transaction, a lock of the session would outlive the process.
    """
    holder = connection.copy()
    try:
        holder.set_autocommit(False)
        with holder.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_KEY])
            if not cursor.fetchone()[0]:
                on_wait()
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{wait_seconds:g}s"])
                _wait_in_postgresql(cursor)
        yield
    finally:
        holder.close()


def _wait_in_postgresql(cursor: CursorWrapper) -> None:
    try:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_KEY])
    except OperationalError as exc:
        if getattr(exc.__cause__, "sqlstate", None) != "55P03":  # lock_not_available
            raise
        raise _taken() from None


@contextlib.contextmanager
def _beside_file(file: Path, on_wait: Callable[[], None], wait_seconds: float) -> Iterator[None]:
    """Lock the folder of a SQLite file: SQLite's own locks end with each transaction, and a lock file would remain."""
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        give_up_at = time.monotonic() + wait_seconds
        is_told = False
        while not _has_locked(folder):
            if not is_told:
                on_wait()
                is_told = True
            if time.monotonic() > give_up_at:
                raise _taken()
            time.sleep(LOOK_SECONDS)
        yield
    finally:
        os.close(folder)


def _has_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as exc:  # a file system without locks: migrating without one is what Django does
        logger.warning("database folder cannot be locked (%s): run one migrate at a time", exc.strerror)
    return True


def _taken() -> CommandError:
    return CommandError("Another process is migrating this database and does not end. Nothing was changed.")
