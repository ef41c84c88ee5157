"""The examples of docs/front-ends.md that are programs, run as they stand; those for React are in tests/browser."""

from __future__ import annotations

import subprocess

import pytest

from tests import processes
from tests.agents.kinds import PYTHON
from tests.clients import LIMIT_SECONDS
from tests.examples import examples_of
from tests.front_ends.node import FOLDER

EXAMPLES = examples_of("front-ends.md")
RUN_HERE = {"js ag-ui", "js tanstack", "js tanstack-websocket", "js openai", "python openai"}
RUN_IN_CHROMIUM = {"jsx page", "jsx react-http", "jsx react-websocket", "jsx react-gateway"}
SETTINGS = {"sh open-webui"}
QUESTION = "What is the capital of France?"


def test_every_example_is_run():
    assert EXAMPLES.keys() == RUN_HERE | RUN_IN_CHROMIUM | SETTINGS


@pytest.mark.parametrize("name", sorted(RUN_HERE))
def test_program_prints_the_answer(gateway, tmp_path, name):
    language = name.split()[0]
    if language == "python" and not PYTHON.exists():
        pytest.skip("no .venv-agents: `make .venv-agents/installed` makes it")
    (tmp_path / "node_modules").symlink_to(FOLDER / "node_modules")
    program = tmp_path / {"js": "program.mjs", "python": "program.py"}[language]
    source = EXAMPLES[name].replace("https://chat.example", gateway.http_url)
    program.write_text(source.replace("wss://chat.example", gateway.ws_url))
    command = {"js": ["node", "--no-warnings", "--experimental-websocket"], "python": [PYTHON]}[language]
    told = subprocess.run(
        [*command, program],
        env=processes.environment(GATEWAY_KEY=processes.KEY),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert (told.stdout, told.returncode) == (QUESTION, 0), told.stderr
