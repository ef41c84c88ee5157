"""Fixtures for every layer of tests."""

from __future__ import annotations

import functools
import gc
import logging
import os
import pkgutil
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import coverage
import pytest

TESTS = Path(__file__).parent

# So that an assertion of a helper says what it has found: pytest does it unasked for test modules only.
_HELPERS = {module.name for module in pkgutil.iter_modules([str(TESTS)], "tests.")}
pytest.register_assert_rewrite(*(_HELPERS - sys.modules.keys()))

from tests import event_loop, log_search, order, processes, properties  # noqa: E402 - they are rewritten as they are imported
from tests.clock import clock  # noqa: E402, F401 - a fixture
from tests.shared import SHARED  # noqa: E402
from tests.wheel import installed, wheel  # noqa: E402, F401 - fixtures

properties.load_profile()


def pytest_configure() -> None:
    """Let the processes that tests start know Ctrl-C: a job in a shell's background, and its children, ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests for the workers of pytest-xdist, if it runs them."""
    if workers := getattr(config, "workerinput", {}).get("workercount"):
        items[:] = order.order(items, workers, lambda item: _file(item.path))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among the tests, neither while they are collected nor later: they stay to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_asyncio_loop_factories() -> dict[str, type[event_loop.TestLoop]]:
    """Run every asynchronous test in an event loop that minds what the test leaves open."""
    return {"asyncio": event_loop.TestLoop}


@functools.cache
def _file(path: Path) -> Path:
    return path.relative_to(TESTS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test fails: what it would have shown has not been seen."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
    return report


@pytest.fixture(scope="session", autouse=True)
def _searched_log() -> Iterator[None]:
    handler = log_search.SearchHandler()
    logging.getLogger().addHandler(handler)
    yield
    logging.getLogger().removeHandler(handler)


@pytest.fixture(scope="session", autouse=True)
def _shared() -> Iterator[None]:
    """Stop what the tests of this process have shared: at exit it would be too late, see ``pytest_sessionfinish``."""
    yield
    SHARED.close()


@pytest.fixture(autouse=True)
def _unbound_log() -> None:
    """Django's test client leaves the names of its last request bound in the thread of the tests."""
    from relay.observability import logging_config

    logging_config._context_names.set({})


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A log that holds a key, a ticket, a prompt or an answer fails the run. What was measured is kept.

    (pytest-xdist kills a worker that does not end at once, and coverage.py writes as a process ends.)
    """
    if log_search.found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if (measuring := coverage.Coverage.current()) is not None:
        measuring.save()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what was found, and where."""
    for line in log_search.found:
        terminalreporter.write_line(f"IN A LOG  {line}", red=True)


@pytest.fixture(scope="module")
def demo_agent() -> Iterator[processes.Process]:
    """The demo agent, quick."""
    with processes.agent("demo") as agent:
        yield agent


@pytest.fixture(scope="module")
def scripted_agent() -> Iterator[processes.Process]:
    """The scripted agent in its own process: the message says what it does."""
    with processes.agent("scripted") as agent:
        yield agent


@pytest.fixture
def gateway(demo_agent: processes.Process) -> Iterator[processes.Process]:
    """A gateway before the demo agent, with the chat page; it may be killed and restarted."""
    with processes.gateway("serve", demo_agent.http_url, CHAT_PAGE="true", HEARTBEAT_SECONDS="1") as gateway:
        yield gateway
