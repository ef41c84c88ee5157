"""``make cluster``, and what ``docker compose up`` would start."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
import yaml

from relay.conf import PREFIX, Conf
from tests.clients import V1, SocketClient
from tests.processes import ROOT, free_port

START_SECONDS = STOP_SECONDS = 60


class Command:
    """``make cluster`` without make, on a free port."""

    def __init__(self, folder, balancer):
        self.port = free_port()
        self._output = folder / "output"
        own = {"PORT": str(self.port), "BALANCER": balancer, "TMPDIR": str(folder)}
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(("GATEWAY__", "DJANGO_"))}
        self._env = {**inherited, **own}

    def __enter__(self):
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "scripts.cluster"], cwd=ROOT, env=self._env, stdout=output, stderr=output
            )
        give_up_at = time.monotonic() + START_SECONDS
        while "Open http" not in self.output():
            assert self._process.poll() is None, self.output()
            assert time.monotonic() < give_up_at, self.output()
            time.sleep(0.1)
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self.interrupt()

    def output(self):
        return self._output.read_text()

    def interrupt(self):
        """Press Ctrl-C. Returns the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(STOP_SECONDS)


@pytest.mark.parametrize("balancer", ["ours", ""])
async def test_make_cluster_answers_on_every_gateway_and_stops_on_ctrl_c(tmp_path, balancer):
    with Command(tmp_path, balancer) as cluster:
        address = f"127.0.0.1:{cluster.port}"
        assert f"http://{address}/" in cluster.output()
        with urllib.request.urlopen(f"http://{address}/") as page:
            assert b"<title>" in page.read()
        async with (
            SocketClient(f"ws://{address}/ws/s/", [V1]) as one,
            SocketClient(f"ws://{address}/ws/s/", [V1]) as other,  # the balancer takes turns: the other gateway
        ):
            await one.say("Hello")
            answers = [await browser.answer() for browser in (one, other)]
            assert answers[0] == answers[1] != ""
            code = await asyncio.to_thread(cluster.interrupt)
            assert (await one.frame_of("disconnect"))["code"] == "server_restart"
        assert code == 0
    assert "Traceback" not in cluster.output()
    assert not _left_over(tmp_path)


def _left_over(folder):
    """Processes that still name the cluster's folder or port."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    return [line for line in listed.splitlines() if str(folder) in line]


# What Docker would start: there is none here, so the file is read.


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def test_compose_starts_two_gateways_before_one_store_and_nginx_before_them(services):
    assert services["gateway"]["deploy"]["replicas"] == 2
    assert set(services["gateway"]["depends_on"]) == {"valkey", "agent"}
    assert set(services["nginx"]["depends_on"]) == {"gateway"}
    assert "ports" not in services["gateway"]


def test_settings_of_compose_are_settings_and_valid_and_name_its_services(services):
    environment = services["gateway"]["environment"]
    texts = {name.removeprefix(PREFIX): re.sub(r"\$\{.*:-(.*)\}", r"\1", text) for name, text in environment.items()}
    conf = Conf(lambda: texts)
    assert (conf.unknown_names(), list(conf.problems())) == ([], [])
    assert conf.redis_url == "redis://valkey:6379/0"
    assert conf.agent_url == "http://agent:8001"


def test_nginx_of_compose_is_not_sticky_and_asks_the_service_gateway(services):
    (volume,) = services["nginx"]["volumes"]
    site = (ROOT / volume.partition(":")[0]).read_text()
    assert "server gateway:8000" in site
    assert not re.search(r"^\s*(ip_hash|hash|sticky)\b", site, re.M)
    assert services["nginx"]["ports"] == ["127.0.0.1:8000:8000"]
    assert "listen 8000;" in site
