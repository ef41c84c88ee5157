"""The format of log lines (text for people, or JSON), and the names that every line of a context carries.

Code logs with the standard library, and passes further members of a line in ``extra``. No line holds a prompt, an
answer, a key or a ticket: only names, numbers and fixed texts.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from itertools import filterfalse
from typing import Any, Final

import msgspec
import structlog
from structlog.types import EventDict

from relay.observability import places
from relay.protocol.trace_context import trace_id, traceparent

__all__ = ["logging_settings"]

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_PLAIN: Final = (str, int, float, bool, type(None))
_process_names: dict[str, str | int] = {}
_context_names: ContextVar[Mapping[str, str]] = ContextVar("names of log lines", default={})  # noqa: B039 - never changed
# Not of ``extra``: the attributes of every record, and those that another handler's formatter sets.
_OF_RECORDS: Final = vars(logging.makeLogRecord({})).keys() | {"message", "asctime"}


def logging_settings(level: str, *, is_for_people: bool) -> dict[str, Any]:
    """Return Django's ``LOGGING`` (a ``dictConfig``, hence ``Any``); ``level`` is for the gateway's own loggers.

    Third-party loggers stay at WARNING: below it they log addresses and frames.
    """
    return {
        "version": 1,
        "filters": {
            "news": {"()": "django.utils.log.CallbackFilter", "callback": _is_news},
            "repetition": {"()": "relay.observability.repetition.RepetitionFilter"},
            "one_line": {"()": "django.utils.log.CallbackFilter", "callback": _in_one_line},
        },
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "relay.observability.logging_config.formatter", "is_for_people": is_for_people}},
        "handlers": {
            "stderr": {
                "class": "relay.observability.log_handler.PatientHandler",
                "formatter": "line",
                "filters": ["one_line", "repetition"],
            }
        },
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "relay": {"level": level},
            "django": {"handlers": [], "level": "WARNING", "propagate": True},
            "django.request": {"filters": ["news"]},
            "django.server": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        },
    }


def _is_news(record: logging.LogRecord) -> bool:
    """Should Django's line about a response be logged? Not for 503, which /ready answers on purpose."""
    return getattr(record, "status_code", None) != HTTPStatus.SERVICE_UNAVAILABLE


def _in_one_line(record: logging.LogRecord) -> bool:
    """Turn Django's line about a refused request into a warning without traceback: the client is at fault."""
    status = getattr(record, "status_code", None)
    if isinstance(status, int) and HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        record.exc_info = record.exc_text = None
        record.levelno, record.levelname = min((record.levelno, record.levelname), (logging.WARNING, "WARNING"))
    return True


class LineFormatter(logging.Formatter):
    """Writes a record as one line, with the names of its context, its ``extra``, and the place that it is about."""

    def __init__(self, render: Callable[[EventDict], str]) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``. The record stays as it is, for other handlers."""
        level = record.levelname.lower()
        line: EventDict = {"event": record.getMessage(), **_context_names.get(), "level": level, "logger": record.name}
        members = vars(record)
        for name in filterfalse(_OF_RECORDS.__contains__, members):
            # No objects: Django adds a request, whose text shows the query, to some of its lines.
            if isinstance(value := members[name], _PLAIN):
                line[name] = value
        line.update(_process_names)
        if record.levelno != logging.DEBUG and (where := places.of_logger(record.name)) is not None:
            line.setdefault(*where)  # unless the line names it itself
        line["timestamp"] = _moment_text(record.created)
        if record.exc_info:
            line["exc_info"] = record.exc_info
        if record.stack_info:
            line["stack_info"] = record.stack_info
        return self._render(line)


def _moment_text(seconds: float) -> str:
    """Write a moment as ``datetime.isoformat`` does, without microseconds if there are none."""
    second, microsecond = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{_second_text(second)}.{microsecond:06d}Z" if microsecond else f"{_second_text(second)}Z"


@lru_cache(2)
def _second_text(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat().removesuffix("+00:00")


def formatter(*, is_for_people: bool) -> logging.Formatter:
    """Return the formatter of log lines."""
    return LineFormatter(_for_people() if is_for_people else _for_programs)


def name_process(**names: str | int) -> None:
    """Add names to every line of this process from now on."""
    _process_names.update(names)


def bind(**names: str) -> None:
    """Add names to every line of this task, and of tasks that it starts from now on."""
    _context_names.set({**_context_names.get(), **names})


@contextmanager
def bound(**names: str) -> Iterator[None]:
    """Add names to every line of this block."""
    token = _context_names.set({**_context_names.get(), **names})
    try:
        yield
    finally:
        _context_names.reset(token)


def bind_request(sent_id: str | None, sent_traceparent: str | None) -> str:
    """Bind the names of a request or a handshake, and return its id.

    Args:
        sent_id: the ``X-Request-ID`` that a proxy or the client sent; an unfit one is replaced.
        sent_traceparent: the trace context that was sent, if any.
    """
    name = request_id(sent_id)
    context = traceparent(sent_traceparent)
    bind(request_id=name, **({} if context is None else {"trace_id": trace_id(context)}))
    return name


def request_id(shown: str | None) -> str:
    """Return the id that was sent with a request, if it is fit for a log line, otherwise a new one."""
    return shown if shown is not None and _REQUEST_ID.fullmatch(shown) else secrets.token_hex(8)


def _for_people() -> Callable[[EventDict], str]:
    # Not rich's tracebacks, which show the values of variables: prompts among them.
    plain = structlog.dev.plain_traceback
    has_colours = sys.stderr is not None and sys.stderr.isatty()
    renderer = structlog.dev.ConsoleRenderer(colors=has_colours, exception_formatter=plain, pad_event_to=40)
    return lambda line: renderer(None, line["level"], line)


def _for_programs(line: EventDict) -> str:
    if "exc_info" in line:
        line = structlog.processors.format_exc_info(None, line["level"], line)
    return _json_by_msgspec(line) or json.dumps(line)


def _json_by_msgspec(line: EventDict) -> str | None:
    """Write a line as ``json.dumps`` does, in half the time; ``None``: the two may differ in some of its values."""
    if not all(map(_has_no_exponent, [value for value in line.values() if isinstance(value, float)])):
        return None
    try:
        text = msgspec.json.format(msgspec.json.encode(line), indent=0).decode()
    except (TypeError, ValueError, OverflowError):  # half a character, a number of more than 64 bits
        return None
    return text if text.isascii() and "\\" not in text and "\x7f" not in text else None


def _has_no_exponent(number: float) -> bool:
    return not number or 1e-4 <= abs(number) < 1e16
