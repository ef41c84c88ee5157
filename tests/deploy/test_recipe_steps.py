"""The steps of the recipes, taken from the page: each is run here, or it is said why it cannot be."""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from scripts.try_image import values
from tests import processes
from tests.clients import LIMIT_SECONDS
from tests.deploy.nginx import Nginx
from tests.deploy.nginx import installed as nginx_installed
from tests.deploy.proxies import Caddy, HAProxy, Proxy
from tests.deploy.test_image import IMAGE
from tests.deploy.test_recipes import PAGE, blocks
from tests.processes import KEY, ROOT
from tests.terminals import Terminal

STEP_SECONDS = 60

RUN_HERE = (
    r"python3 -c 'import secrets",
    r"install -m 600 /opt",
    r"cp /opt/gateway/deploy/systemd",
    r"run\(\) \{ systemd-run",  # as what it starts
    r"run (createsuperuser|doctor)$",
    r"curl --unix-socket",
    r"cat > gateway\.env <<",
    r"curl http://127\.0\.0\.1:8000/ready$",
    r"docker exec (-it )?gateway python manage\.py",  # as what it starts
    r"cat > \.env <<",
    r"docker compose exec gateway python manage\.py (createsuperuser|doctor|sessions)$",  # other recipes' commands
    r"(caddy validate|haproxy -c|nginx -t) ",
    r"curl https://chat\.example/health",
    r"curl -o /dev/null .*https://chat\.example",
    r"python manage\.py chat --url",
)
RUN_ELSEWHERE = {
    r"docker build -t": "make image-test takes the Dockerfile's steps without Docker",
    r"helm upgrade --install": "test_helm renders the chart with these values",
    r"helm template": "test_helm renders it, by Helm where it is installed",
    r"python3 -m venv|/opt/gateway/\.venv/bin/pip install": "make installs so, before any test",
    r"cp deploy/(nginx|caddy|haproxy)|editor /etc/(nginx|caddy|haproxy)": "the proxies under test have these files, "
    "changed in the lines that say CHANGE",
    r"editor /etc/gateway\.env": "the systemd recipe changes the lines that say CHANGE",
    r"cd deploy/compose": "the file that compose reads is checked in that folder",
}
CANNOT = {
    r"apt install|useradd|git ": "changes the machine, or needs the project's address",
    r"systemctl|journalctl": "needs systemd as process 1; systemd-analyze verifies the units",
    r"docker (run|inspect)|docker compose (up|ps)": "needs Docker's daemon; docker-compose reads the file",
    r"kubectl": "needs a cluster",
    r"helm status": "needs a cluster",
}


def steps() -> list[str]:
    """The page's commands: lines that go on are joined, what is written to a file belongs to its command."""
    text = re.sub(r" *\\\n *", " ", blocks(PAGE))
    found = re.findall(r"^(.+<<'END'\n(?:.*\n)*?END|.+)$", text, re.MULTILINE)
    return [re.sub(r"\s+# .*$", "", step) for step in found]


def step(start: str) -> str:
    """The one step of the page that begins so."""
    (found,) = {step for step in steps() if step.startswith(start)}
    return found


def test_each_step_is_run_or_it_is_said_why_not():
    known = (*RUN_HERE, *RUN_ELSEWHERE, *CANNOT)
    assert [step for step in steps() if not any(re.match(pattern, step) for pattern in known)] == []
    assert [pattern for pattern in known if not any(re.match(pattern, step) for step in steps())] == []


def shell(command: str, places: Mapping[str, str], **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command as the page has it, with these places instead of its own."""
    for place, here in places.items():
        command = command.replace(place, here)
    return subprocess.run(
        ["sh", "-c", command], cwd=ROOT, env=processes.environment(**env), capture_output=True, text=True,
        timeout=STEP_SECONDS,
    )  # fmt: skip


def done(command: str, places: Mapping[str, str], **env: str) -> str:
    """Run a command, which must end well; give what it has printed."""
    ended = shell(command, places, **env)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def found_well(command: str, places: Mapping[str, str], words: str = "", **env: str) -> None:
    """Run a check until it ends with 0, which is without a problem, and says this.

    It waits a second or less for what it looks at, which may stand still for longer.
    """
    give_up_at = time.monotonic() + LIMIT_SECONDS
    while (ended := shell(command, places, **env)).returncode != 0 or words not in ended.stdout:
        assert time.monotonic() < give_up_at, ended.stdout + ended.stderr


def variables(text: str) -> dict[str, str]:
    """The settings of an environment file, as systemd and Docker read it."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_key_is_random():
    first, second = (done(step("python3 -c"), {"python3": sys.executable}).strip() for _ in range(2))
    assert len(first) == len(second) == 43
    assert first != second


# systemd: without it, the units' own commands, over a socket that is open before.


@contextmanager
def served(env: Mapping[str, str], path: Path) -> Iterator[None]:
    """Start a process as ``gateway@.service`` does, and hand it the socket."""
    unit = (ROOT / "deploy" / "systemd" / "gateway@.service").read_text()
    (arguments,) = re.findall(r"^ExecStart=/opt/gateway/\.venv/bin/python (.*) 3$", unit, re.MULTILINE)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with subprocess.Popen(
            [sys.executable, *arguments.split(), str(listener.fileno())], cwd=ROOT, stderr=subprocess.PIPE, text=True,
            env=processes.environment(**env), pass_fds=[listener.fileno()],
        ) as process:  # fmt: skip
            try:
                yield
            finally:
                process.terminate()
                _, said = process.communicate(timeout=STEP_SECONDS)
                assert "listening on" in said
                assert '"level": "error"' not in said


def test_systemd_recipe_serves(tmp_path, scripted_agent):
    """From the environment file on: migrate, a user for the admin, a process on the socket, and the recipe's checks."""
    own = {"/etc/systemd/system": "", "/etc/gateway.env": "/gateway.env", "/run/gateway": "", "/var/lib/gateway": ""}
    places = {"/opt/gateway/.venv/bin/python": sys.executable, "/opt/gateway": str(ROOT)}
    places |= {place: f"{tmp_path}{name}" for place, name in own.items()}
    done(step("install -m 600"), places)
    done(step("cp /opt/gateway/deploy/systemd"), places)
    assert {file.name for file in tmp_path.iterdir()} == {
        "gateway.env", "gateway.socket", "gateway@.service", "gateway-migrate.service",
    }  # fmt: skip
    file = tmp_path / "gateway.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    env = variables(file.read_text().replace("/var/lib/gateway", str(tmp_path)))
    env |= {"GATEWAY__AGENT_URL": scripted_agent.http_url, "GATEWAY__INTERNAL_API_KEY": KEY}  # marked CHANGE
    unit = (tmp_path / "gateway-migrate.service").read_text()
    (migrate,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    done(migrate, places, **env)
    # What systemd-run starts has the unit's environment, as here.
    run = re.sub(r"systemd-run .*?--property=\S+ ", "", step("run() {"))
    user = {
        "DJANGO_SUPERUSER_PASSWORD": "secret",
        "DJANGO_SUPERUSER_USERNAME": "ann",
        "DJANGO_SUPERUSER_EMAIL": "ann@example.org",
    }
    done(f"{run}\n{step('run createsuperuser')} --noinput", places, **env, **user)
    with served(env, tmp_path / "gateway.sock"):
        found_well(step("curl --unix-socket"), places, '"status": "ready"')
        found_well(f"{run}\n{step('run doctor')}", places, **env)


# Docker: without it, a process with the settings of the environment file, and the commands that run in the container.


def test_docker_recipe_serves(scripted_agent):
    text = step("cat > gateway.env").partition("\n")[2].removesuffix("END").replace("=CHANGE", f"={KEY}")
    image = dict(variable.split("=", 1) for variable in values(IMAGE, "ENV") if variable.startswith("GATEWAY__"))
    env = {**image, **variables(text), "GATEWAY__AGENT_URL": scripted_agent.http_url}
    with processes.Process(processes.SERVERS["serve"], **env) as gateway:
        places = {
            "docker exec -it gateway python": sys.executable, "docker exec gateway python": sys.executable,
            "http://127.0.0.1:8000": gateway.http_url,
        }  # fmt: skip
        env["GATEWAY_URL"] = gateway.http_url  # in the container it is on port 8000
        found_well(step("docker exec gateway python manage.py doctor"), places, **env)
        found_well(step("curl http://127.0.0.1:8000/ready"), places, '"status": "ready"')
        arguments = step("docker exec -it gateway").removeprefix("docker exec -it gateway python manage.py ").split()
        with Terminal(*arguments, **env) as terminal:
            terminal.wait_for("quits.\r\n> ")  # the prompt
            terminal.type("hello\n")
            terminal.wait_for("hello\r\n")
            terminal.wait_for("hello\r\n> ")
        sessions = step("docker compose exec gateway python manage.py sessions").replace(" compose", "")
        assert "session" in done(sessions, places, **env)


def test_compose_reads_the_files(tmp_path):
    """The variables of the recipe are enough; without them it says which one is missing."""
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("There is no docker-compose; scripts/install-deploy-tools.sh installs one.")
    for folder in ("compose", "nginx"):
        shutil.copytree(ROOT / "deploy" / folder, tmp_path / "deploy" / folder)
    places = {"docker compose": program, "deploy/compose": str(tmp_path / "deploy" / "compose")}
    config = f"{step('cd deploy/compose')} && docker compose config"
    assert "GATEWAY__INTERNAL_API_KEY" in shell(config, places).stderr
    shown = done(f"{step('cd deploy/compose')}\n{step('cat > .env')}\ndocker compose config", places)
    assert "postgres://gateway:CHANGE@postgres:5432/gateway" in shown
    done("docker compose config -q", places)  # the one to try it


# Proxies.


class NginxProxy(Nginx):
    """The site, as the other proxies are made."""

    program = "nginx"
    installed = staticmethod(nginx_installed)

    def __init__(self, folder: Path, ports: list[int]) -> None:
        super().__init__(folder, ports, "", {})


PROXIES = {"nginx": NginxProxy, "caddy": Caddy, "haproxy": HAProxy}


@pytest.fixture(scope="module")
def gateway(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    with processes.gateway("serve", scripted_agent.http_url, TRUSTED_PROXIES="1", WS_AUTH="ticket") as gateway:
        yield gateway


@pytest.fixture(params=PROXIES)
def proxy(request: pytest.FixtureRequest, tmp_path: Path, gateway: processes.Process) -> NginxProxy | Proxy:
    kind = PROXIES[request.param]
    if kind.installed() is None:
        pytest.skip(f"There is no {kind.program}; scripts/install-deploy-tools.sh installs one.")
    return kind(tmp_path, [gateway.port])


def test_check_of_the_file_and_checks_through_the_proxy(proxy, gateway, tmp_path):
    check = step(f"{proxy.program} ").partition(" && ")[0]
    folders = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    path = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
    if isinstance(proxy, NginxProxy):  # the page leaves the main file to Debian's
        done(f"{check} -c {tmp_path}/nginx.conf -p {tmp_path} -e stderr", {}, PATH=path)
    else:
        done(check, {f"/etc/{proxy.program}/{proxy.file.name}": f"{tmp_path}/{proxy.file.name}"}, PATH=path, **folders)
    with proxy:
        places = {"https://chat.example": proxy.https_url, "python manage.py": f"{sys.executable} manage.py"}
        trust = {"CURL_CA_BUNDLE": f"{tmp_path}/certificate.pem", "SSL_CERT_FILE": f"{tmp_path}/certificate.pem"}
        assert '"status": "healthy"' in done(step("curl https://chat.example/health"), places, **trust)
        assert done(step("curl -o /dev/null"), places, KEY=KEY, **trust) == "401\n"
        tickets, key = (
            f"{gateway.http_url}/api/v1/tickets",
            {"X-Internal-Auth": KEY},
        )  # as manage.py ticket asks for one
        ticket = httpx.post(tickets, json={"session_id": "s-1"}, headers=key, timeout=LIMIT_SECONDS).json()["ticket"]
        chat = f"echo hello | {step('python manage.py chat --url')}"
        assert done(chat, places, TICKET=ticket, **trust) == "hello\n"
