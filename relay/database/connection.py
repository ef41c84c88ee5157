"""The database: Django's settings from its address, options for several processes, and a limit for long queries."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

WAIT_SECONDS: Final = 5  # for another writer of a SQLite file, or for PostgreSQL to take the connection
GONE_SECONDS: Final = 20
STEPS_BETWEEN_LOOKS: Final = 100_000  # instructions of SQLite's virtual machine, about a millisecond
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "django.db.backends.sqlite3": {
        "timeout": WAIT_SECONDS,
        "transaction_mode": "IMMEDIATE",  # a transaction that reads first and then writes could not wait
        "init_command": "PRAGMA journal_mode=wal; PRAGMA synchronous=normal",  # readers do not block the writer
    },
    "django.db.backends.postgresql": {
        "connect_timeout": WAIT_SECONDS,
        # A server that disappears silently (failover, broken network): TCP alone notices after a quarter of an hour.
        "tcp_user_timeout": 1000 * GONE_SECONDS,  # while an acknowledgement is outstanding
        "keepalives_idle": GONE_SECONDS // 2,  # and while an answer is outstanding
        "keepalives_interval": GONE_SECONDS // 4,
        "keepalives_count": 2,
    },
}


def database(url: str) -> dict[str, Any]:
    """Return Django's settings (hence ``Any``) for an address; options in the address win.

    Raises:
        ValueError: it names no database, or has parts that would be ignored silently.
    """
    parts = urlsplit(url)
    if parts.scheme not in environ.Env.DB_SCHEMES or "://" not in url or not url.isprintable():
        raise ValueError("not the address of a database")
    if parts.scheme == "sqlite" and parts.netloc not in ("", ":memory:"):
        raise ValueError("a file stands behind three slashes")
    if parts.scheme in environ.Env.POSTGRES_FAMILY and "@" in parts.path + parts.fragment * bool(parts.path):
        raise ValueError("a delimiter in the password")
    if parts.query:
        parse_qsl(parts.query, strict_parsing=True)  # raises for parts that would be ignored
    config: dict[str, Any] = environ.Env.db_url_config(url)
    try:
        load_backend(config["ENGINE"])
    except ImproperlyConfigured as exc:
        raise ValueError("there is no driver") from exc
    host = parts.netloc.rpartition("@")[2]
    if host[:3].upper() == "%2F":  # a socket's folder, as libpq writes it; the parser leaves it encoded, in lower case
        folder, _, port = host.partition(":")
        config["HOST"], config["PORT"] = unquote(folder), int(port) if port else ""
    config["OPTIONS"] = {**_OPTIONS.get(config["ENGINE"], {}), **config.get("OPTIONS", {})}
    return config


def check_database_address(text: str) -> str:
    """Check an address without its driver; a system check has the driver read it too."""
    config: dict[str, Any] = database(text)
    if not isinstance(config.get("CONN_MAX_AGE", 0), int | float | None):
        raise ValueError
    return text


def check_driver(connection: BaseDatabaseWrapper) -> None:
    """Let the driver parse the connection's options, without connecting.

    Raises:
        ValueError: the driver refuses them.
    """
    try:
        parameters = connection.get_connection_params()
        if connection.vendor == "sqlite":
            sqlite3.connect(**{**parameters, "database": ":memory:"}).close()
        elif connection.vendor == "postgresql":
            _check_conninfo(parameters)
    except (ImproperlyConfigured, TypeError, sqlite3.Error) as exc:
        raise ValueError("the driver refuses the address") from exc


def _check_conninfo(parameters: dict[str, Any]) -> None:
    import psycopg  # imported only where PostgreSQL is used
    from psycopg.conninfo import make_conninfo

    ours = ("autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory")  # psycopg's, not libpq's
    try:
        make_conninfo(**{name: value for name, value in parameters.items() if name not in ours})
    except psycopg.Error as exc:
        raise ValueError("the driver refuses the address") from exc


@contextmanager
def limited_queries(seconds: float) -> Iterator[None]:
    """Limit the time of the default database's queries within the block.

    Args:
        seconds: for each query on PostgreSQL; for the whole block on SQLite.

    Raises:
        OperationalError: a query was ended.
    """
    if connection.vendor == "postgresql":
        with transaction.atomic():  # the limit ends with the transaction: PgBouncer shares connections
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(round(1000 * seconds))])
            yield
    elif connection.vendor == "sqlite":
        connection.ensure_connection()
        opened: Any = connection.connection  # sqlite3's own; Django's types do not say
        give_up_at = time.monotonic() + seconds
        opened.set_progress_handler(lambda: time.monotonic() > give_up_at, STEPS_BETWEEN_LOOKS)
        try:
            yield
        finally:
            opened.set_progress_handler(None, 0)
    else:
        yield
