"""Real servers with the ticket policy, before the scripted agent."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", params=["daphne", "uvicorn", "serve"])
def server(request: pytest.FixtureRequest) -> str:
    return request.param
