"""The database's address as Django's settings, with what SQLite and PostgreSQL need to serve several processes."""

from __future__ import annotations

from typing import Any, Final

import environ

WAIT_SECONDS: Final = 5  # for another writer of a SQLite file, or for PostgreSQL to take the connection
GONE_SECONDS: Final = 20
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "django.db.backends.sqlite3": {
        "timeout": WAIT_SECONDS,
        "transaction_mode": "IMMEDIATE",  # a transaction that begins to read and then writes could not wait
        "init_command": "PRAGMA journal_mode=wal; PRAGMA synchronous=normal",  # readers do not stop the writer
    },
    "django.db.backends.postgresql": {
        "connect_timeout": WAIT_SECONDS,
        # A server that is gone without a word (a failover, a cut line): TCP alone notices after a quarter of an hour.
        "tcp_user_timeout": 1000 * GONE_SECONDS,  # while it owes an acknowledgement
        "keepalives_idle": GONE_SECONDS // 2,  # and while it owes an answer
        "keepalives_interval": GONE_SECONDS // 4,
        "keepalives_count": 2,
    },
}


def database(url: str) -> dict[str, Any]:
    """Read an address. Any: Django's settings have values of any kind; those in the address win."""
    config: dict[str, Any] = environ.Env.db_url_config(url)
    config["OPTIONS"] = {**_OPTIONS.get(config["ENGINE"], {}), **config.get("OPTIONS", {})}
    return config
