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
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

import structlog
from structlog.types import EventDict

from relay.observability import places
from relay.protocol.trace_context import trace_id, traceparent

__all__ = ["logging_settings"]

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_PLAIN: Final = (str, int, float, bool, type(None))
_process_names: dict[str, str | int] = {}
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
        line: EventDict = structlog.contextvars.merge_contextvars(None, level, {"event": record.getMessage()})
        line["level"], line["logger"] = level, record.name
        for name, value in vars(record).items():
            # No objects: Django adds a request, whose text shows the query, to some of its lines.
            if name not in _OF_RECORDS and isinstance(value, _PLAIN):
                line[name] = value
        line.update(_process_names)
        if record.levelno != logging.DEBUG and (where := places.of_logger(record.name)) is not None:
            line.setdefault(*where)  # unless the line names it itself
        line["timestamp"] = f"{datetime.now(UTC).isoformat().removesuffix('+00:00')}Z"
        if record.exc_info:
            line["exc_info"] = record.exc_info
        if record.stack_info:
            line["stack_info"] = record.stack_info
        return self._render(line)


def formatter(*, is_for_people: bool) -> logging.Formatter:
    """Return the formatter of log lines."""
    return LineFormatter(_for_people() if is_for_people else _for_programs)


def name_process(**names: str | int) -> None:
    """Add names to every line of this process from now on."""
    _process_names.update(names)


def bind(**names: str) -> None:
    """Add names to every line of this task, and of tasks that it starts from now on."""
    structlog.contextvars.bind_contextvars(**names)


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
    return json.dumps(structlog.processors.format_exc_info(None, line["level"], line))
