"""The tests of the JavaScript under Node.js.

``client``: the gateway's client, over a fake socket and a clock that the test moves. ``agent``: the package for agents.
``transport``: the translation into the chunks of the AI SDK.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent
FILES = sorted(
    path for part in ("agent", "client", "session", "transport") for path in (FOLDER / part).glob("*.test.js")
)
OLDEST = (20, 11)
LIMIT_SECONDS = 60


@pytest.fixture(scope="module")
def node() -> str:
    """Node.js, new enough to move the clock of a test."""
    path = shutil.which("node")
    if path is None:
        pytest.skip("no Node.js: install version 20.11 or newer to test the JavaScript")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(map(int, version.lstrip("v").split(".")[:2])) < OLDEST:
        pytest.skip(f"Node.js {version} is too old: install 20.11 or newer to test the JavaScript")
    return path


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_javascript(node: str, path: Path) -> None:
    run = subprocess.run(
        # The link to the client is a module by the package.json beside it, not by that of its target's folder.
        [node, "--preserve-symlinks", "--no-warnings", "--test", "--test-reporter=spec", path],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert run.returncode == 0, run.stdout + run.stderr
