"""Real proxies with the files of ``deploy/``, changed in nothing but the lines that say CHANGE."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Self

from tests import leftovers
from tests.deploy.nginx import is_listening, make_certificate
from tests.processes import ROOT, free_port

START_SECONDS = STOP_SECONDS = 60


class Proxy:
    """Answers on https://localhost and wss://localhost, in front of the ports of some gateways."""

    program: ClassVar[str]
    file: ClassVar[Path]

    def __init__(self, folder: Path, ports: Iterable[int]) -> None:
        self.port = free_port()
        self.https_url, self.wss_url = f"https://localhost:{self.port}", f"wss://localhost:{self.port}"
        self._folder = folder
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        make_certificate(certificate, key)
        (folder / "both.pem").write_text(certificate.read_text() + key.read_text())
        self.tls = ssl.create_default_context(cafile=str(certificate))
        text = self.file.read_text()
        for pattern, change in self.changes(list(ports)).items():
            text, times = re.subn(pattern, lambda _, change=change: change, text, flags=re.MULTILINE)
            assert times == 1, pattern
        self._config = folder / self.file.name
        self._config.write_text(text)

    @classmethod
    def installed(cls) -> str | None:
        """The path of the program; Debian puts some where only root looks."""
        return shutil.which(cls.program) or shutil.which(cls.program, path="/usr/sbin:/usr/local/sbin")

    def changes(self, ports: list[int]) -> Mapping[str, str]:
        """The lines to change, by patterns."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """How it is started."""
        raise NotImplementedError

    def check(self) -> subprocess.CompletedProcess[str]:
        """What it says of its file."""
        raise NotImplementedError

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.installed()), *arguments], capture_output=True, text=True, env=self._env, timeout=START_SECONDS
        )

    @property
    def _env(self) -> dict[str, str]:
        folders = {"HOME": str(self._folder), "XDG_DATA_HOME": str(self._folder), "XDG_CONFIG_HOME": str(self._folder)}
        return {**os.environ, **folders}

    def __enter__(self) -> Self:
        command = [str(self.installed()), *self.command()]
        with (self._folder / "log").open("wb") as log:
            self._process = leftovers.start(command, stdout=log, stderr=log, env=self._env)
        give_up_at = time.monotonic() + START_SECONDS
        while not is_listening(self.port):
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < give_up_at, f"{self.program} does not listen"
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(STOP_SECONDS)


class Caddy(Proxy):
    program = "caddy"
    file = ROOT / "deploy" / "caddy" / "Caddyfile"

    def changes(self, ports: list[int]) -> Mapping[str, str]:
        folder = self._folder
        upstreams = " ".join(f"127.0.0.1:{port}" for port in ports)
        return {
            r"^\tgrace_period 10s.*$": "\tgrace_period 1s\n\tadmin off\n\tauto_https off",
            r"^chat\.example \{.*$": f"{self.https_url} {{\n\ttls {folder}/certificate.pem {folder}/key.pem",
            r"reverse_proxy 127\.0\.0\.1:8000 \{": f"reverse_proxy {upstreams} {{",
        }

    def command(self) -> list[str]:
        return ["run", "--adapter", "caddyfile", "--config", str(self._config)]

    def check(self) -> subprocess.CompletedProcess[str]:
        return self._run("validate", "--adapter", "caddyfile", "--config", str(self._config))


class HAProxy(Proxy):
    program = "haproxy"
    file = ROOT / "deploy" / "haproxy" / "haproxy.cfg"

    def changes(self, ports: list[int]) -> Mapping[str, str]:
        checked = [f"    server gateway-{port} 127.0.0.1:{port} check inter 2s fall 2 rise 1" for port in ports]
        backup = [f"    server gateway-{port}-unready 127.0.0.1:{port} backup" for port in ports]
        whole = [f"    server gateway-{port} 127.0.0.1:{port}" for port in ports]
        return {
            r"bind :443 ssl crt \S+": f"bind 127.0.0.1:{self.port} ssl crt {self._folder}/both.pem",
            r"^    server gateway-1 127\.0\.0\.1:8000 check.*$": "\n".join(checked),
            r"^    server gateway-1-unready .*$": "\n".join(backup),
            r"^    server gateway-1 127\.0\.0\.1:8000     #.*$": "\n".join(whole),
        }

    def command(self) -> list[str]:
        return ["-db", "-f", str(self._config)]

    def check(self) -> subprocess.CompletedProcess[str]:
        return self._run("-c", "-f", str(self._config))


PROXIES: dict[str, type[Proxy]] = {"caddy": Caddy, "haproxy": HAProxy}
