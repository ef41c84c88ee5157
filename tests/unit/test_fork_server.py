"""A forked program finds what a program finds that has an interpreter of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests import fork_server
from tests.clients import LIMIT_SECONDS
from tests.processes import ROOT, environment, manage

PROGRAM = """
import json, os, signal, sys
print(json.dumps({
    "argv": sys.argv, "path": sys.path, "name": __name__, "folder": os.getcwd(), "environment": dict(os.environ),
    "files": sorted(os.listdir("/proc/self/fd")),
    "handlers": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
}))
print("said", file=sys.stderr)
if sys.argv[1:] == ["stay"]:
    signal.pause()
sys.exit(3)
"""

# What settings and the modules that read them make of a process. Of an object that has no words, its type.
STATE = """
import json, logging, sys
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.core.checks import run_checks
from django.core.checks.registry import registry
from django.core.handlers.asgi import ASGIHandler
from django.db import connections
from django.db.models.signals import post_migrate
from django.urls import get_resolver
from django.utils.translation import gettext
from relay.conf import conf
from relay.routing import application
from relay.exceptions import Unauthorized
from relay.translations import translated

def plain(value):
    words = lambda one: sorted(one) if isinstance(one, frozenset) else repr(one).partition(" at 0x")[0]
    return json.loads(json.dumps(value, default=words))

def routes(patterns):
    return [[str(one.pattern), routes(getattr(one, "url_patterns", []))] for one in patterns]

application()
print(json.dumps({
    "settings": {name: plain(getattr(settings, name)) for name in dir(settings) if name.isupper()},
    "conf": {setting.name: plain(getattr(conf, setting.attribute)) for setting in conf.settings()},
    "apps": [plain(app.name) for app in apps.get_app_configs()],
    "models": [[one._meta.label, one._meta.db_table] for one in apps.get_models(include_auto_created=True)],
    "related": {one._meta.label: plain(one._meta.related_objects) for one in apps.get_models()},
    "admin": [[one._meta.label, type(shown).__name__] for one, shown in admin.site._registry.items()],
    "site": plain(type(admin.site._wrapped)),
    "checks": sorted(f"{check.__module__}.{check.__name__}" for check in registry.get_checks(True)),
    "found": sorted(str(message) for message in run_checks(include_deployment_checks=True)),
    "databases": plain(connections.settings),
    "loggers": {name: [plain(one.handlers), one.level, one.propagate]
                for name in ("", "relay", "django", "django.request", "django.server", "daphne")
                if (one := logging.getLogger(name))},
    "routes": routes(get_resolver().url_patterns),
    "receivers": len(post_migrate.receivers),
    "words": [gettext("Log in"), translated(str(Unauthorized()))],
}, sort_keys=True))
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


@pytest.fixture
def start(folder):
    """Start a program and give it and what it writes."""
    output = (folder / "output").open("w+")

    def start_one(*arguments):
        env = environment(GATEWAY__MAX_QUEUE="7")
        assert fork_server.can_start(env)
        return fork_server.start(list(arguments), cwd=folder, env=env, output=output), output

    yield start_one
    output.close()


@pytest.mark.parametrize("arguments", [("program.py", "a", "b"), ("-m", "program", "a")])
def test_a_forked_program_finds_all_as_one_that_was_started(folder, start, arguments):
    program, output = start(*arguments)
    assert program.wait(LIMIT_SECONDS) == program.poll() == 3
    output.seek(0)
    forked, said = output.read().splitlines()
    env = environment(GATEWAY__MAX_QUEUE="7")
    alone = subprocess.run([sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True)
    assert said == "said"
    assert json.loads(forked) == json.loads(alone.stdout)


OTHER_SETTINGS = {
    "ADAPTERS": "ai-sdk,openai", "ADMIN": "true", "CHAT_PAGE": "true", "DATABASE_URL": "postgres://no@localhost/none",
    "DEBUG": "true", "LANGUAGE": "ru", "LOG_LEVEL": "DEBUG", "MAX_QUEUE": "7", "REDIS_URL": "redis://localhost",
    "ROOT_PATH": "/below", "SECRET_KEY": "of this process", "WS_AUTH": "session",
}  # fmt: skip


@pytest.mark.parametrize("settings", [{}, OTHER_SETTINGS], ids=["defaults", "others"])
def test_a_forked_gateway_is_made_of_its_own_settings(settings):
    env = {"GATEWAY__SECRET_KEY": "s", **{f"GATEWAY__{name}": value for name, value in settings.items()}}
    forked = manage("shell", "--no-imports", said=STATE, **env)
    alone = subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports"],
        cwd=ROOT, env=environment(**env), input=STATE, capture_output=True, text=True,
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    assert json.loads(forked.stdout) == json.loads(alone.stdout)


def test_a_forked_gateway_names_itself():
    ask = "import os; from relay.transcripts.rows import worker; print(worker().endswith(f':{os.getpid()}'))"
    assert manage("shell", "--no-imports", said=ask).stdout == "True\n"


def test_a_command_reads_a_pipe_and_has_its_outputs_apart():
    done = manage("shell", "--no-imports", said="import os, sys; print(os.getsid(0) == os.getpid()); sys.exit('no')")
    assert (done.returncode, done.stdout, done.stderr) == (1, "False\n", "no\n")


LAST_WORDS = """
import atexit, sys, threading

class Left:
    def __init__(self):
        self.itself = self
    def __del__(self):
        print("left", end="")

Left()
atexit.register(print, "exit")
main = threading.current_thread()
threading.Thread(target=lambda: (main.join(), print("thread"))).start()
print("unwritten", end=" ")
sys.exit(5)
"""


def test_a_forked_program_ends_as_one_that_was_started(folder, start):
    (folder / "program.py").write_text(LAST_WORDS)
    program, output = start("program.py")
    assert program.wait(LIMIT_SECONDS) == 5
    output.seek(0)
    alone = subprocess.run([sys.executable, "program.py"], cwd=folder, env=environment(), stdout=subprocess.PIPE)
    assert output.read() == alone.stdout.decode() == "unwritten thread\nexit\nleft"


def test_a_leader_has_a_session_of_its_own(folder):
    (folder / "program.py").write_text("import os; print(os.getsid(0) == os.getpid())")
    with (folder / "output").open("w+") as output:
        program = fork_server.start(["program.py"], cwd=folder, env=environment(), output=output, is_leader=True)
        assert program.wait(LIMIT_SECONDS) == 0
        output.seek(0)
        assert output.read() == "True\n"


def test_a_signal_ends_it_and_is_its_exit_code(start):
    program, _ = start("program.py", "stay")
    assert program.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0.01)
    program.terminate()
    assert program.wait(LIMIT_SECONDS) == -signal.SIGTERM
    program.kill()  # which is too late, and harmless


@pytest.mark.parametrize("name", ["PYTHONHASHSEED", "OTEL_SERVICE_NAME", "COVERAGE_PROCESS_CONFIG"])
def test_a_variable_that_counts_from_the_start_of_an_interpreter_needs_one(name):
    assert not fork_server.can_start({**os.environ, name: "1"})
