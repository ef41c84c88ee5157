"""The core, without the packages of any extra, in a project of another's."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.processes import ROOT

# Which modules need an extra; all others are there without one.
NEED_EXTRAS = {
    "relay.demo_agent.server",
    "relay.layers.redis",
    "relay.management.doctor_store",
    "relay.observability.access_logs",  # of the servers' logs
    "relay.server",
    "relay.turns.otel",
}
PROGRAM = """
import importlib.abc, io, json, pkgutil, sys

EXTRAS = {"autobahn", "channels_redis", "corsheaders", "daphne", "hiredis", "opentelemetry", "psycopg", "redis",
          "servestatic", "twisted", "uvicorn", "uvloop"}

class NotInstalled(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())

import django
from django.conf import settings
from django.core.management import CommandError, call_command, load_command_class
from django.db import models

settings.configure(
    SECRET_KEY="key",
    INSTALLED_APPS=["relay", "channels", "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
                    "django.contrib.messages", "django.contrib.sessions"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    CHANNEL_LAYERS={"default": {"BACKEND": "relay.layers.memory.MemorySessionLayer"}},
    ROOT_URLCONF="relay.urls",
    GATEWAY={},
)
django.setup()
import relay

missing = {}
for module in pkgutil.walk_packages(relay.__path__, "relay.", onerror=lambda name: None):
    if module.name != "relay.__main__":
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as exc:
            missing[module.name] = exc.name

said = {}
for command in ("serve", "demo_agent"):
    try:
        call_command(command)
    except CommandError as exc:
        said[command] = str(exc)

from relay.conf import Conf
problems = [str(problem) for problem in Conf(lambda: {
    "REDIS_URL": "redis://127.0.0.1/0", "DATABASE_URL": "postgres://u:p@127.0.0.1/name"}).problems()]
runserver = load_command_class("relay", "runserver").__class__.__module__
print(json.dumps({"missing": missing, "said": said, "problems": problems, "runserver": runserver}))
"""


@pytest.fixture(scope="module")
def seen():
    """What a Python sees that has no package of any extra."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_only_the_modules_of_an_extra_need_it(seen):
    def needs_extra(name: str) -> bool:
        return any(name == known or name.startswith(f"{known}.") for known in NEED_EXTRAS)

    assert {name: why for name, why in seen["missing"].items() if not needs_extra(name)} == {}
    assert seen["missing"]


def test_a_command_says_which_extra_it_needs(seen):
    assert set(seen["said"]) == {"serve", "demo_agent"}
    for words in seen["said"].values():
        assert words.startswith("The packages for this command are missing: pip install 'agent-gateway[serve]'")


def test_a_setting_says_which_extra_it_needs(seen):
    database, store = sorted(seen["problems"])
    assert database.startswith("GATEWAY__DATABASE_URL")
    assert " Its packages are missing: pip install 'agent-gateway[postgres]'" in database
    assert store.startswith("GATEWAY__REDIS_URL")
    assert " Its packages are missing: pip install 'agent-gateway[redis]'" in store


def test_runserver_is_djangos_without_a_server(seen):
    assert seen["runserver"] == "django.core.management.commands.runserver"
