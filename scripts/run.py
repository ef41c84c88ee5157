"""Start the demo agent and the gateway on this machine, say which page to open, and stop both on Ctrl-C.

Where the environment or ``.env`` names an agent, the gateway asks that one, and no demo agent is started.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from relay.env_file import EnvFileInvalid, load_env_file

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
START_SECONDS = 60.0
AGENT = ("GATEWAY__AGENT_URL", "GATEWAY__AGENT_URL_FILE", "GATEWAY__AGENT_PROTOCOL", "GATEWAY__AGENT_PROTOCOL_FILE")
DEFAULT_PROTOCOL = "agent"


def main() -> int:
    port, agent_port = port_of("PORT", 8000), port_of("AGENT_PORT", 8001)
    env = environment()
    brings_agent = not names_agent(env)
    for needed, name in [(port, "PORT"), *([(agent_port, "AGENT_PORT")] if brings_agent else [])]:
        if is_taken(needed):
            print(f"Port {needed} is in use. Choose another: make run {name}={needed + 1000}")
            return 1
    processes: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        if brings_agent:
            env["GATEWAY__AGENT_URL"] = f"http://{HOST}:{agent_port}"
            agent = [sys.executable, "manage.py", "demo_agent", "--host", HOST, "--port", str(agent_port)]
            processes.append(subprocess.Popen(agent, env=env))
        serve = [sys.executable, "manage.py", "serve", "--host", HOST, "--port", str(port), "--no-access-log"]
        processes.append(subprocess.Popen(serve, env=env))
        if wait_until_healthy(port, processes):
            answers = "The demo agent answers." if brings_agent else "The agent of your settings answers."
            print(f"\n  Open http://{HOST}:{port}/ and say something. {answers} Ctrl-C stops everything.\n", flush=True)
        while all(process.poll() is None for process in processes):
            time.sleep(0.2)
        ended = "The demo agent" if brings_agent and processes[0].poll() is not None else "The gateway"
        print(f"\n  {ended} has ended, so everything stops. Its output is above.\n", flush=True)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def environment() -> dict[str, str]:
    """Return the environment of the processes: this process' own, with the settings of .env added."""
    env = dict(os.environ)
    try:
        load_env_file(ROOT / ".env", env)
    except EnvFileInvalid as exc:
        sys.exit(str(exc))
    return {"GATEWAY__DEBUG": "true", **env}


def names_agent(settings: Mapping[str, str]) -> bool:
    """Do the settings name an agent: its address, or what it speaks, such as a Python function?"""
    return any(settings.get(name, "").strip() not in ("", DEFAULT_PROTOCOL) for name in AGENT)


def port_of(name: str, default: int) -> int:
    """Read the number of a port from a variable."""
    text = os.environ.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65_536:
        sys.exit(f"{name} must be the number of a port, 1 to 65535.")
    return int(text)


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def wait_until_healthy(port: int, processes: list[subprocess.Popen[bytes]]) -> bool:
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at and all(process.poll() is None for process in processes):
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=1):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    return False


if __name__ == "__main__":
    sys.exit(main())
