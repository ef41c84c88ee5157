"""Lines of the log: JSON for programs, words for people, with the names of their context and no object's text."""

import contextvars
import io
import json
import logging
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.observability import logging_config


@pytest.fixture
def written():
    """A logger, and what it has written, for programs or for people."""
    handlers = []

    def make(*, is_for_people=False):
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging_config.formatter(is_for_people=is_for_people))
        logger = logging.getLogger(f"test.{len(handlers)}")
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.DEBUG)
        handlers.append((logger, handler))
        return logger, stream.getvalue

    yield make
    for logger, handler in handlers:
        logger.removeHandler(handler)


def test_a_line_for_programs_is_one_json_object(written):
    logger, text = written()
    logger.info("turn ended: %s", "answered", extra={"tokens": 7, "first_token_seconds": None})
    assert text().endswith("\n")
    line = json.loads(text())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "turn ended: answered",
        "level": "info",
        "logger": "test.0",
        "tokens": 7,
        "first_token_seconds": None,
    }


def test_what_is_bound_is_in_every_line_of_the_context_and_in_no_other(written):
    logger, text = written()

    def inside():
        logging_config.bind(session_id="s")
        logger.info("a")

    contextvars.copy_context().run(inside)
    logger.info("b")
    a, b = map(json.loads, text().splitlines())
    assert a["session_id"] == "s"
    assert "session_id" not in b


def test_names_of_a_block_end_with_it(written):
    logger, text = written()
    with logging_config.bound(session_id="s"):
        with logging_config.bound(turn_id="t"):
            logger.info("a")
        logger.info("b")
    logger.info("c")
    names = [(line.get("session_id"), line.get("turn_id")) for line in map(json.loads, text().splitlines())]
    assert names == [("s", "t"), ("s", None), (None, None)]


PLAIN = st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none())


@given(st.dictionaries(st.text(), PLAIN))
@example({"a": 1e-5})
@example({"a": 1e-4, "b": 9_999_999_999_999_998.0, "c": -0.0})
@example({"a": 1e16})
@example({"a": float("nan")})
@example({"a": 2**64})
@example({"a": "\ud800"})
@example({"a": "\x7f"})
@example({"a": 'b"\\'})
@example({"é": "a, b: {c}"})
@example({})
def test_a_line_for_programs_is_what_pythons_json_writes(line):
    assert logging_config._for_programs({"level": "info", **line}) == json.dumps({"level": "info", **line})


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis adds it
@example(datetime(2026, 11, 29, tzinfo=UTC))
@example(datetime(2026, 11, 29, 1, 2, 3, 999_999, tzinfo=UTC))
def test_a_moment_is_written_as_python_writes_it(moment):
    assert logging_config._moment_text(moment.timestamp()) == moment.isoformat().replace("+00:00", "Z")


def test_objects_are_left_out(written):
    """Django's lines carry the request, whose text shows the query."""
    logger, text = written()
    logger.warning("Not Found", extra={"request": object(), "status_code": 404})
    line = json.loads(text())
    assert line["status_code"] == 404
    assert "request" not in line


@pytest.mark.parametrize("is_for_people", [False, True])
def test_a_trace_is_there_without_the_values_of_variables(written, is_for_people):
    logger, text = written(is_for_people=is_for_people)
    prompt = "".join(["a prompt ", "of somebody"])  # noqa: F841 - in the frame of the error
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        logger.exception("turn failed unexpectedly")
    assert "ZeroDivisionError" in text()
    assert "a prompt of somebody" not in text()


def test_a_line_for_people_has_no_braces(written):
    logger, text = written(is_for_people=True)
    logger.info("turn ended", extra={"tokens": 7})
    assert "turn ended" in text()
    assert "{" not in text()


@pytest.mark.parametrize("shown", ["abc-1.2:3_4", "x" * 64])
def test_a_request_id_that_is_fit_for_a_line_is_kept(shown):
    assert logging_config.request_id(shown) == shown


@pytest.mark.parametrize("shown", [None, "", "x" * 65, "a b", 'a"', "a\n", "ä"])
def test_another_one_is_replaced(shown):
    made = logging_config.request_id(shown)
    assert made != shown
    assert logging_config.request_id(made) == made


@pytest.mark.parametrize(("status", "is_said"), [(503, False), (500, True)])
def test_a_refusal_on_purpose_is_no_error_of_a_request(status, is_said):
    """Who asks /ready each second of an outage does not fill the log."""
    settings = logging_config.logging_settings("DEBUG", is_for_people=False)
    assert settings["loggers"]["django.request"]["filters"] == ["news"]
    record = logging.makeLogRecord({"status_code": status})
    assert settings["filters"]["news"]["callback"](record) is is_said


@pytest.mark.parametrize(
    ("status", "level", "has_trace"), [(400, "WARNING", False), (500, "ERROR", True), (None, "ERROR", True)]
)
def test_a_refused_request_is_one_line(status, level, has_trace):
    """What a client sends causes no traceback, and calls nobody."""
    settings = logging_config.logging_settings("DEBUG", is_for_people=False)
    assert settings["handlers"]["stderr"]["filters"] == ["one_line", "repetition"]
    fields = {"levelno": logging.ERROR, "levelname": "ERROR", "exc_info": (ValueError, ValueError(), None)}
    record = logging.makeLogRecord(fields if status is None else {**fields, "status_code": status})
    assert settings["filters"]["one_line"]["callback"](record) is True
    assert (record.levelname, record.exc_info is not None) == (level, has_trace)


def test_levels_are_those_of_the_setting_for_the_gateway_alone():
    settings = logging_config.logging_settings("DEBUG", is_for_people=sys.stderr.isatty())
    assert settings["loggers"]["relay"]["level"] == "DEBUG"
    assert settings["root"]["level"] == "WARNING"
