"""The ports of the servers to try, looked at before anything is installed. Standard library only."""

from __future__ import annotations

import errno
import os
import re
import socket
import sys
from collections.abc import Collection, Mapping
from typing import NamedTuple

from gateway_project.folder import FOLDER

HOST = "127.0.0.1"
DEFAULTS = {"PORT": 8000, "AGENT_PORT": 8001}
AGENT = ("GATEWAY__AGENT_URL", "GATEWAY__AGENT_URL_FILE", "GATEWAY__AGENT_PROTOCOL", "GATEWAY__AGENT_PROTOCOL_FILE")
DEFAULT_PROTOCOL = "agent"
STEP = 1_000  # to the port that is proposed instead of one that is taken


class Caller(NamedTuple):
    """How a person starts it, and other commands; ports are options (``--port 9000``), or make's variables."""

    start: str
    manage: str
    has_options: bool = False

    def with_ports(self, ports: Mapping[str, int]) -> str:
        """Return the command with these ports."""
        words = (
            f"--{name.lower().replace('_', '-')} {port}" if self.has_options else f"{name}={port}"
            for name, port in ports.items()
        )
        return " ".join((self.start, *words))


MAKE_RUN = Caller("make run", ".venv/bin/python manage.py")


class PortsUnfit(Exception):
    """The ports cannot be used; ``str`` gives the reason and what to do."""


def names_agent(settings: Mapping[str, str]) -> bool:
    """Do the settings name an agent: its address, or what it speaks, such as a Python function?"""
    return any(settings.get(name, "").strip() not in ("", DEFAULT_PROTOCOL) for name in AGENT)


def usable_ports(caller: Caller, *names: str) -> dict[str, int]:
    """Read ports from the environment, and make sure that servers can listen on them.

    Raises:
        PortsUnfit: one is no port, is taken or forbidden, or two are the same.
    """
    ports = {name: _port_of(name, caller) for name in names}
    if len(set(ports.values())) < len(ports):
        raise PortsUnfit(f"{' and '.join(ports)} must be different ports.")
    obstacles = {name: _obstacle(port) for name, port in ports.items()}
    if unfit := [f"Port {ports[name]} {words}." for name, words in obstacles.items() if words]:
        # The other port is kept, if it was given.
        others = dict(ports)
        for name in (name for name, words in obstacles.items() if words):
            others[name] = _other(ports[name], others.values())
        proposed = {name: port for name, port in others.items() if obstacles[name] or os.environ.get(name)}
        raise PortsUnfit(f"{' '.join(unfit)} Choose another: {caller.with_ports(proposed)}")
    return ports


def _port_of(name: str, caller: Caller) -> int:
    text = os.environ.get(name) or str(DEFAULTS[name])
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65_536:
        example = caller.with_ports({name: DEFAULTS[name] + STEP})
        raise PortsUnfit(f"{name} must be a port number from 1 to 65535, for example: {example}")
    return int(text)


def _obstacle(port: int) -> str:
    """Say why a server cannot listen on the port; empty if it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError as exc:
            return "is in use" if exc.errno == errno.EADDRINUSE else f"cannot be used ({exc.strerror})"
    return ""


def _other(port: int, named: Collection[int]) -> int:
    candidates = range(port % STEP + 9 * STEP, 65_536)
    return next(other for other in candidates if other not in named and not _obstacle(other))


def _names_in_env_file() -> dict[str, str]:
    """Read roughly which agent ``.env`` names: its real parser may not be installed yet."""
    file = FOLDER / ".env"
    text = file.read_text(errors="replace") if file.is_file() else ""
    return dict(re.findall(r"^\s*(?:export\s+)?(GATEWAY__AGENT_\w+)\s*=\s*['\"]?([^'\"\s#]*)", text, re.MULTILINE))


if __name__ == "__main__":
    wanted = ["PORT"] if names_agent({**_names_in_env_file(), **os.environ}) else ["PORT", "AGENT_PORT"]
    try:
        usable_ports(MAKE_RUN, *wanted)
    except PortsUnfit as unfit_ports:
        sys.exit(str(unfit_ports))
