"""The fixtures of the contract suite, for each backend."""

from __future__ import annotations

import hypothesis
import pytest

from relay.layers.redis import listing, outbox
from relay.testing.fixtures import layer, limits, peer, store
from tests.buffer.stores import STORES
from tests.properties import load_profile

__all__ = ["layer", "limits", "peer", "store"]

# The same questions cost a multiple over a store: for each step of a model a wait for it, in a cluster for three nodes.
EXAMPLES_DIVIDED_BY = {"memory": 1, "redis": 2, "cluster": 10}
MEMORY_ONLY_MODULES = ("test_cost", "test_room")  # Redis keeps no count of sessions, and its calls cost commands


def pytest_generate_tests(metafunc):
    """Run each test over each backend that promises it."""
    if "make_store" in metafunc.fixturenames:
        is_memory_only = metafunc.module.__name__.endswith(MEMORY_ONLY_MODULES)
        metafunc.parametrize("backend", ["memory"] if is_memory_only else sorted(STORES), indirect=True)


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Lists and the outbox wait for their nodes, however slow the machine is."""
    for limit in ("NAMES_SECONDS", "STATES_SECONDS", "AWAY_SECONDS"):
        monkeypatch.setattr(listing, limit, 60.0)
    monkeypatch.setattr(outbox, "TAKE_SECONDS", 60.0)


@pytest.fixture
def backend(request):
    return request.param


@pytest.fixture
def make_store(backend):
    """What makes the store; the test then takes as many examples as this backend is worth."""
    fewer = hypothesis.settings(max_examples=hypothesis.settings().max_examples // EXAMPLES_DIVIDED_BY[backend])
    hypothesis.settings.register_profile(backend, fewer)
    hypothesis.settings.load_profile(backend)
    yield STORES[backend]
    load_profile()
