"""Keeps keys and tickets out of the logs of other servers (uvicorn, daphne), at every log level."""

from __future__ import annotations

import logging
from typing import Any, Final

from daphne.access import AccessLogGenerator

UVICORNS_LOGGERS: Final = ("uvicorn.access", "uvicorn.error")  # the second logs sockets
# Below INFO these write every header and frame; uvicorn's websockets write to the first.
TALKATIVE_LOGGERS: Final = ("uvicorn.error", "uvicorn.asgi", "websockets.server")

_write_entry = AccessLogGenerator.write_entry


def hide_query_strings() -> None:
    """Cut query strings off the paths that uvicorn and daphne log, and drop lines with headers. Idempotent."""
    for name in UVICORNS_LOGGERS:
        logging.getLogger(name).addFilter(_cut_paths)
    for name in TALKATIVE_LOGGERS:
        logging.getLogger(name).addFilter(_drop_headers)
    AccessLogGenerator.write_entry = _write_entry_without_query


def _cut_paths(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(_cut(arg) if isinstance(arg, str) and arg.startswith("/") else arg for arg in record.args)
    return True


def _drop_headers(record: logging.LogRecord) -> bool:
    """Drop debug lines. An error of the websockets library keeps only its name, because its text quotes headers."""
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and type(error).__module__.startswith("websockets."):
        record.msg, record.args = f"{record.getMessage()} ({type(error).__name__})", ()
        record.exc_info = record.exc_text = None
    return record.levelno >= logging.INFO


def _write_entry_without_query(self: Any, host: Any, date: Any, request: str, **details: Any) -> None:
    """Write daphne's access log entry, without the query string. Its parts have no types."""
    _write_entry(self, host, date, _cut(request), **details)


def _cut(path: str) -> str:
    return path.partition("?")[0]
