"""Keeps query strings, which may hold tickets, out of the access logs of servers that are not ours."""

from __future__ import annotations

import logging
from typing import Any, Final

from daphne.access import AccessLogGenerator

UVICORNS_LOGGERS: Final = ("uvicorn.access", "uvicorn.error")  # the second tells of sockets

_write_entry = AccessLogGenerator.write_entry


def hide_query_strings() -> None:
    """Cut them off wherever uvicorn or daphne writes a path; called again, nothing changes."""
    for name in UVICORNS_LOGGERS:
        logging.getLogger(name).addFilter(_cut_paths)
    AccessLogGenerator.write_entry = _write_entry_without_query


def _cut_paths(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(_cut(arg) if isinstance(arg, str) and arg.startswith("/") else arg for arg in record.args)
    return True


def _write_entry_without_query(self: Any, host: Any, date: Any, request: str, **details: Any) -> None:
    """Write daphne's entry; what it is made of has no types."""
    _write_entry(self, host, date, _cut(request), **details)


def _cut(path: str) -> str:
    return path.partition("?")[0]
