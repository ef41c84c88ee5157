"""The contents of the wheel, and that it needs nothing else of a checkout."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import HeaderParser
from zipfile import ZipFile

import pytest

import relay
from tests import processes
from tests.clients import SocketClient
from tests.processes import ROOT, free_port
from tests.wheel import Installed


def environment(**variables: str) -> dict[str, str]:
    """Return an environment in which Python finds nothing of the checkout."""
    env = processes.environment(**variables)
    return {name: text for name, text in env.items() if name not in ("PYTHONPATH", "PORT", "AGENT_PORT")}


def run(installed: Installed, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [str(installed.bin / "agent-gateway"), *arguments]
    return subprocess.run(
        command, cwd=installed.folder, env=environment(**env), capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def archive(wheel) -> Iterator[ZipFile]:
    with ZipFile(wheel) as opened:
        yield opened


@pytest.fixture(scope="module")
def metadata(archive):
    return HeaderParser().parsestr(archive.read(f"agent_gateway-{relay.__version__}.dist-info/METADATA").decode())


def test_every_file_of_the_packages_is_inside_and_no_other(archive):
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "relay", "gateway_project"]
    names = subprocess.check_output(listed, cwd=ROOT, text=True).splitlines()
    kept = {name for name in names if (ROOT / name).is_file()}
    packaged = {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")}
    assert packaged == kept
    assert {"relay/py.typed", "relay/locale/ru/LC_MESSAGES/relay.mo", "relay/layers/redis/lua/append.lua"} <= packaged


def test_licences_are_inside(archive):
    names = [name.partition("/licenses/")[2] for name in archive.namelist() if "/licenses/" in name]
    vendored = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "relay").rglob("*.LICENSE.txt"))
    assert sorted(names) == ["LICENSE", *vendored]


def test_metadata_names_the_version_and_the_extras(metadata):
    assert metadata["Name"] == "agent-gateway"
    assert metadata["Version"] == relay.__version__
    assert set(metadata.get_all("Provides-Extra")) == {"postgres", "redis", "serve", "testing", "tracing"}
    core = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert core
    assert not [line for line in core if re.match("daphne|redis|channels-redis|hiredis|psycopg|opentelemetry", line)]


def test_version_is_told(installed):
    for words in (["agent-gateway", "--version"], ["python", "-m", "relay", "version"]):
        command = [str(installed.bin / words[0]), *words[1:]]
        said = subprocess.check_output(command, cwd=installed.folder, env=environment(), text=True)
        assert said.startswith(f"agent-gateway {relay.__version__} (Django ")


def test_help_names_the_commands(installed):
    assert "agent-gateway serve " in run(installed, "--help").stdout
    listed = run(installed, "help").stdout
    assert {"serve", "doctor", "chat", "sessions", "migrate"} <= set(re.findall(r"^    (\w+)$", listed, re.MULTILINE))


@contextmanager
def started(installed: Installed, **env: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A gateway to try, as soon as it names its page; and its port."""
    port, agent_port = free_port(), free_port()
    with subprocess.Popen(
        [str(installed.bin / "agent-gateway"), "--port", str(port), "--agent-port", str(agent_port)],
        cwd=installed.folder, env=environment(**env), stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            while f"Open http://127.0.0.1:{port}/" not in process.stdout.readline():
                assert process.poll() is None
            yield process, port
        finally:
            process.terminate()


async def test_it_answers_and_stops_on_ctrl_c(installed):
    with started(installed, DEMO_AGENT__DELAY="0") as (process, port):
        async with SocketClient(f"ws://127.0.0.1:{port}/ws/s/") as browser:
            assert "demo agent" in await browser.ask("help")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=processes.STOP_SECONDS)
        assert process.returncode == 0
    assert (installed.folder / "db.sqlite3").is_file()
    assert not list(installed.packages.glob("*.sqlite3"))


def test_doctor_looks_at_the_settings_of_the_current_folder(installed):
    (installed.folder / ".env").write_text("GATEWAY__AGENT_URL=http://127.0.0.1:9\n")
    try:
        ended = run(installed, "doctor")
    finally:
        (installed.folder / ".env").unlink()
    assert ended.returncode == 1
    assert "127.0.0.1:9" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


def test_function_of_the_current_folder_is_found(installed):
    assert "own_agent" in run(installed, "check", GATEWAY__AGENT_PROTOCOL="own_agent.answer").stderr
    (installed.folder / "own_agent.py").write_text("async def answer(message, session):\n    yield 'Hello'\n")
    ended = run(installed, "check", GATEWAY__AGENT_PROTOCOL="own_agent.answer")
    assert ended.returncode == 0, ended.stderr
