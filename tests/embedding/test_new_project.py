"""A project straight from ``startproject``, of whatever Django is installed, with no more than the gateway needs."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from tests import processes
from tests.clients import SocketClient
from tests.embedding.conftest import Host

ADDED = {
    "settings.py": """
INSTALLED_APPS += ["relay"]
ASGI_APPLICATION = "bakery.asgi.application"
CHANNEL_LAYERS = {"default": {"BACKEND": "relay.layers.memory.MemorySessionLayer"}}
GATEWAY = {"INTERNAL_API_KEY": "of-the-bakery", "AGENT_URL": "{agent}"}
""",
    "urls.py": """
from django.urls import include
urlpatterns += [path("assistant/", include("relay.urls"))]
""",
    "asgi.py": """
from channels.routing import URLRouter
from django.urls import path
from relay import routing
application = routing.application(
    http=application, websocket=URLRouter([path("assistant/", URLRouter(routing.websocket_urlpatterns))])
)
""",
}


@pytest.fixture
def manage_py(host: Host, scripted_agent: processes.Process, tmp_path: Path) -> str:
    """The command of a new project with the gateway."""
    host.run("-m", "django", "startproject", "bakery", str(tmp_path))
    for name, lines in ADDED.items():
        with (tmp_path / "bakery" / name).open("a") as file:
            file.write(lines.replace("{agent}", scripted_agent.http_url))
    return str(tmp_path / "manage.py")


async def test_a_new_project_passes_the_checks_and_answers(host, manage_py):
    assert "no issues" in host.run(manage_py, "check").stdout
    command = [manage_py, "serve", "--port", "{port}"]
    with processes.Process(command, "/assistant/ready", python=host.python, PYTHONPATH="") as site:
        with urllib.request.urlopen(f"{site.http_url}/assistant/") as page:  # open, because the project has DEBUG
            assert page.status == 200
        async with SocketClient(f"{site.ws_url}/assistant/ws/s/") as browser:
            assert await browser.ask("Hi")
