"""What stops a start, under every server: words that name the setting, no traceback, and never the setting's text."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from gateway_project.run import wait_until_healthy
from tests import processes
from tests.clients import LIMIT_SECONDS

SECRET = "s3cret-Value"
COMMANDS = {
    **processes.SERVERS,
    "migrate": ["manage.py", "migrate"],
    "demo_agent": ["manage.py", "demo_agent", "--port", "{port}"],
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the gateway, which may have a ``.env`` of its own."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(processes.ROOT / "gateway_project", folder / "gateway_project")
    shutil.copy(processes.ROOT / "manage.py", folder)
    (folder / "relay").symlink_to(processes.ROOT / "relay")
    return folder


def refused(folder: Path, command: str, **env: str) -> str:
    """Start a command that has to end by itself, and give what it has said."""
    arguments = [argument.format(port=processes.free_port()) for argument in COMMANDS[command]]
    ended = processes.run(arguments, folder, **env)
    said = ended.stdout
    assert ended.returncode != 0, said
    assert "Traceback" not in said
    assert SECRET not in said
    return said


@pytest.mark.parametrize("command", COMMANDS)
def test_a_line_of_the_env_file_that_is_not_understood_stops_the_start(checkout, command):
    (checkout / ".env").write_text(f"# ours\nGATEWAY__INTERNAL_API_KEY {SECRET}\n")
    said = refused(checkout, command)
    assert f"{checkout}/.env, line 2 (GATEWAY__INTERNAL_API_KEY): this line is not valid." in said


@pytest.mark.parametrize("command", ["serve", "daphne", "uvicorn", "demo_agent"])
def test_a_secret_that_cannot_be_read_stops_the_start(checkout, tmp_path, command):
    (checkout / ".env").write_text(f"GATEWAY__INTERNAL_API_KEY_FILE={tmp_path}/{SECRET}\n")
    assert "GATEWAY__INTERNAL_API_KEY_FILE must be a file of text" in refused(checkout, command)


def test_a_setting_with_blanks_around_the_sign_is_read(checkout):
    (checkout / ".env").write_text("\ufeffexport GATEWAY__MAX_QUEUE = 'many' # too many\r\n")
    assert "GATEWAY__MAX_QUEUE must be" in refused(checkout, "serve")


@pytest.mark.parametrize(
    ("command", "name", "text"),
    [
        ("serve", "REDIS_URL", f"redis://user:{SECRET}/{SECRET}@127.0.0.1:6379/0"),
        ("serve", "DATABASE_URL", f"postgres://user:{SECRET}/{SECRET}@127.0.0.1/name"),
        ("serve", "DATABASE_URL", f"redshift://user:{SECRET}@127.0.0.1/name"),
        *[
            (command, name, text)
            for command in ("serve", "daphne", "uvicorn", "migrate")
            for name, text in [
                ("REDIS_URL", f"redis://user:{SECRET}@127.0.0.1:6379/0?nonsense={SECRET}"),
                ("DATABASE_URL", f"postgres://user:{SECRET}@127.0.0.1/name?nonsense={SECRET}"),
                ("DATABASE_URL", SECRET),
                ("AGENT_URL", f"http://user:{SECRET}/@127.0.0.1"),
            ]
        ],
    ],
)
def test_an_address_that_cannot_be_used_stops_the_start(checkout, command, name, text):
    (checkout / ".env").write_text(f"GATEWAY__{name}={text}\n")
    said = refused(checkout, command)
    assert f"GATEWAY__{name} " in said
    assert (" write / as %2F." in said) == ("/" in text.partition("://")[2].rpartition("@")[0])
    assert not (checkout / "db.sqlite3").exists()  # and no other database in its place


def test_a_command_without_checks_finds_no_other_database(checkout):
    (checkout / ".env").write_text(f"GATEWAY__DATABASE_URL={SECRET}\n")
    ended = processes.run(["manage.py", "migrate", "--skip-checks"], checkout)
    assert ended.returncode != 0
    assert SECRET not in ended.stdout
    assert not (checkout / "db.sqlite3").exists()


@pytest.mark.parametrize("command", ["serve", "demo_agent"])
@pytest.mark.parametrize("port", ["80000", "abc", "-1"])
def test_a_wrong_port_is_named(command, port):
    ended = processes.run(["manage.py", command, f"--port={port}"])
    assert ended.returncode == 2
    assert "a port is a number from 0 (any free port) to 65535" in ended.stdout
    assert "Traceback" not in ended.stdout


def test_how_to_open_the_page_is_said_in_the_log_alone(scripted_agent):
    """What a client gets at ``/`` stays the same."""
    with processes.gateway("serve", scripted_agent.http_url) as gateway:
        answers = [
            httpx.get(gateway.http_url, headers={"Accept": "text/html"}, timeout=LIMIT_SECONDS) for _ in range(2)
        ]
        gateway.stop()  # it writes such lines in a moment, or at its end
        said = gateway.output()
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, '{"detail": "unauthorized"}')}
    assert said.count("chat page off: GATEWAY__CHAT_PAGE=true opens it at /") == 1
    assert said.count("chat page requested, but off: GATEWAY__CHAT_PAGE=true opens it at /") == 1


def test_an_open_page_is_not_said_to_be_off(scripted_agent):
    with processes.gateway("serve", scripted_agent.http_url, CHAT_PAGE="true") as gateway:
        assert httpx.get(gateway.http_url, timeout=LIMIT_SECONDS).status_code == 200
        assert "chat page" not in gateway.output()


@pytest.mark.parametrize("server", ["serve", "uvicorn"])
def test_pages_of_native_shells_are_served(server):
    shells = ["capacitor://localhost", "ionic://localhost", "tauri://localhost", "app://-", "app://."]
    with processes.gateway(server, "http://127.0.0.1:9", ALLOWED_ORIGINS=",".join(shells)) as gateway:
        for shell in shells:
            with connect(f"{gateway.ws_url}/ws/s/", origin=shell, open_timeout=LIMIT_SECONDS):
                pass
            headers = {"Origin": shell, "X-Internal-Auth": processes.KEY}
            answer = httpx.get(f"{gateway.http_url}/api/v1/sessions", headers=headers, timeout=LIMIT_SECONDS)
            assert answer.headers["access-control-allow-origin"] == shell
        with (
            pytest.raises(InvalidStatus),
            connect(f"{gateway.ws_url}/ws/s/", origin="capacitor://other", open_timeout=LIMIT_SECONDS),
        ):
            pass


@pytest.mark.parametrize(
    ("server", "closed"),
    [
        ("serve", "2>&-"),
        ("serve", ">&-"),
        ("serve", "<&-"),
        ("serve", "<&- >&- 2>&-"),
        ("daphne", "2>&-"),
        ("uvicorn", "2>&-"),
    ],
)
def test_closed_standard_streams_do_not_stop_the_start(server, closed):
    """What is written to a closed stream goes nowhere: its number must not be a client's."""
    port = processes.free_port()
    arguments = [argument.format(port=port) for argument in processes.SERVERS[server]]
    env = processes.environment(GATEWAY__TRANSCRIPTS="false")
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, *arguments]
    with subprocess.Popen(command, cwd=processes.ROOT, env=env, stdout=-1, stderr=-1, stdin=-1) as running:
        try:
            assert wait_until_healthy(port, [running])
            if server != "serve":  # their event loops are there first
                return
            files = [Path(f"/proc/{running.pid}/fd/{number}").readlink() for number in range(3)]
            assert all(str(file) == "/dev/null" or str(file).startswith("pipe:") for file in files)
        finally:
            running.terminate()
            running.communicate(timeout=processes.STOP_SECONDS)
