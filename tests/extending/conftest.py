"""The project that extends the gateway, as a process; its parts can be imported by name in this one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests import processes
from tests.api.conftest import agent, application, configure, http, patience, plain, v1  # noqa: F401 - fixtures

PROJECT = Path(__file__).parent / "project"
sys.path.insert(0, str(PROJECT))


def helpdesk() -> processes.Process:
    """The project under the gateway's server."""
    return processes.Process(
        [str(PROJECT / "manage.py"), "serve", "--port", "{port}"],
        health="/desk/ready",
        PYTHONPATH=os.pathsep.join([str(processes.ROOT), str(PROJECT)]),
    )


def pytest_collection_modifyitems(config, items):
    """Leave out the property tests of the project's layer: `tests/buffer` runs them over the layer that it extends."""
    left_out = [item for item in items if item.path.is_relative_to(PROJECT) and item.get_closest_marker("hypothesis")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
