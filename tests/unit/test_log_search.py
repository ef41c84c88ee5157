"""The search of logs finds what it is for."""

from __future__ import annotations

import logging

import pytest

from tests import log_search


@pytest.fixture
def found(monkeypatch):
    found: list[str] = []
    monkeypatch.setattr(log_search, "found", found)
    monkeypatch.setattr(log_search, "_texts", set())
    return found


@pytest.mark.parametrize(
    "line",
    [
        "GET /events?ticket=abc 200",
        "Sec-WebSocket-Protocol: gateway.v1, gateway.ticket.ZXlK",
        "token eyJhbGciOiJFUzI1NiJ9.x",
        "X-Internal-Auth: test-internal-key",
        "the key change-me-internal-key is the default",
        "asked: what is the capital of France?",
    ],
)
def test_what_must_not_be_logged_is_found(found, line):
    log_search.look_for("what is the capital of France?")
    log_search.search(f"before\n{line}\nafter", "a process")
    assert len(found) == 1
    assert found[0].startswith("a process: ")


def test_what_may_be_is_not(found):
    log_search.look_for("hello")
    log_search.search("hello, session s: turn 1 of /ws/s/ ended, ticket used", "a process")
    assert found == []


def test_what_this_process_logs_is_searched(found):
    log_search.look_for("a prompt that is long")
    handler = log_search.SearchHandler()
    logger = logging.getLogger("relay.test_log_search")
    logger.addHandler(handler)
    try:
        logger.propagate = False
        try:
            raise ValueError("a prompt that is long")
        except ValueError:
            logger.exception("failed")
    finally:
        logger.removeHandler(handler)
    assert len(found) == 1
