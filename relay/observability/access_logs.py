"""Keeps keys and tickets out of the logs of other servers (uvicorn, daphne), at every log level."""

from __future__ import annotations

import logging
from functools import wraps
from typing import Any, Final

__all__ = ["hide_query_strings"]

UVICORNS_LOGGERS: Final = ("uvicorn.access", "uvicorn.error")  # the second logs sockets
# Below INFO these write every header and frame; uvicorn's websockets write to the first.
TALKATIVE_LOGGERS: Final = ("uvicorn.error", "uvicorn.asgi", "websockets.server")


def hide_query_strings() -> None:
    """Cut query strings off the paths that uvicorn and daphne log, and drop lines with headers. Idempotent."""
    for name in UVICORNS_LOGGERS:
        logging.getLogger(name).addFilter(_cut_paths)
    for name in TALKATIVE_LOGGERS:
        logging.getLogger(name).addFilter(_drop_headers)
    _hide_in_daphnes_log()


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


def _hide_in_daphnes_log() -> None:
    try:
        from daphne.access import AccessLogGenerator
    except ImportError:  # pragma: no cover - a project under another server may lack it
        return
    write_entry = getattr(AccessLogGenerator.write_entry, "__wrapped__", AccessLogGenerator.write_entry)

    @wraps(write_entry)
    def write_entry_without_query(self: Any, host: Any, date: Any, request: str, **details: Any) -> None:
        write_entry(self, host, date, _cut(request), **details)  # daphne's; its parts have no types

    AccessLogGenerator.write_entry = write_entry_without_query


def _cut(path: str) -> str:
    return path.partition("?")[0]
