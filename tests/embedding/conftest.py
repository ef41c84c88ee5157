"""The host: a Django project with the gateway's wheel at a prefix, as real processes that have no checkout."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import processes
from tests.browser.conftest import browser, context, tab  # noqa: F401 - fixtures
from tests.wheel import Installed

HOST = Path(__file__).parent / "host"

ENTRANCES = {"ADAPTERS": "ai-sdk,ag-ui,openai", "AGENT_PASS": "GET /s"}

SET_UP = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
from customers.models import Customer
Customer.objects.create_user("first", password="correct horse")  # so that numbers differ from those of orders
Customer.objects.create_user("ada", password="correct horse")
"""


@dataclass(frozen=True)
class Host:
    """The host's programs, by the Python that has the wheel installed."""

    python: str
    folder: Path

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run ``python <arguments>`` to its end."""
        done = processes.run(list(arguments), self.folder, python=self.python, PYTHONPATH=str(HOST), **env)
        assert done.returncode == 0, done.stdout
        return done

    def manage(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the host to its end."""
        return self.run(str(HOST / "manage.py"), *arguments, **env)

    def serve(self, agent: processes.Process, database: str, **settings: str) -> processes.Process:
        """The host under the gateway's server; ``settings`` of the gateway, without the prefix."""
        return processes.Process(
            [str(HOST / "manage.py"), "serve", "--port", "{port}"],
            health="/assistant/ready",
            python=self.python,
            PYTHONPATH=str(HOST),
            SHOP_DATABASE=database,
            **{f"GATEWAY__{name}": text for name, text in {"AGENT_URL": agent.http_url, **settings}.items()},
        )


@pytest.fixture(scope="session")
def host(installed: Installed) -> Host:
    return Host(installed.python, installed.folder)


@pytest.fixture(scope="module")
def database(host: Host, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database of the host's, with two customers."""
    path = str(tmp_path_factory.mktemp("shop") / "db.sqlite3")
    host.manage("shell", "-c", SET_UP, SHOP_DATABASE=path)
    return path


@pytest.fixture(scope="module")
def shop(host: Host, scripted_agent: processes.Process, database: str) -> Iterator[processes.Process]:
    """The host under the gateway's server, with every entrance that a setting opens."""
    with host.serve(scripted_agent, database, **ENTRANCES) as shop:
        yield shop
