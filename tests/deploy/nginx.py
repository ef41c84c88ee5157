"""A real nginx with the site of ``deploy/``, changed in nothing but the lines that say CHANGE, and limits to be met."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from tests import leftovers
from tests.processes import ROOT, free_port

SITE = ROOT / "deploy" / "nginx" / "gateway.conf"
START_SECONDS = STOP_SECONDS = 30
MAIN = """
daemon off;
worker_processes 1;
error_log stderr notice;
pid {folder}/pid;
{user}
events {{ worker_connections 4096; }}
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


def installed() -> str | None:
    """The path of nginx; Debian puts it where only root looks."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


class Nginx:
    """Answers on https://localhost and wss://localhost, in front of the ports of some gateways.

    ``locations`` are an operator's own, beside the site's.
    """

    def __init__(self, folder: Path, ports: Iterable[int], locations: str, limits: Mapping[str, str]) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        make_certificate(certificate, key)
        self.tls = ssl.create_default_context(cafile=str(certificate))
        servers = "".join(f"server 127.0.0.1:{port} max_fails=0;" for port in ports)
        changes = {
            r"server 127\.0\.0\.1:8000 max_fails=0;": servers,
            r"    location / \{": f"{locations}\n    location / {{",
            r"listen 443 ssl http2;": f"listen 127.0.0.1:{self._port} ssl http2;",
            r"server_name chat\.example;": "server_name localhost;",
            r"ssl_certificate     \S+;": f"ssl_certificate {certificate};",
            r"ssl_certificate_key \S+;": f"ssl_certificate_key {key};",
            **limits,
        }
        site = SITE.read_text()
        for pattern, change in changes.items():
            site, times = re.subn(pattern, change, site)
            assert times == 1, pattern
        (folder / "site.conf").write_text(site)
        user = "user root;" if os.geteuid() == 0 else ""  # else a worker could not read what the tests have made
        self._main = folder / "nginx.conf"
        self._main.write_text(MAIN.format(folder=folder, user=user))

    @property
    def port(self) -> int:
        return self._port

    @property
    def https_url(self) -> str:
        return f"https://localhost:{self._port}"

    @property
    def wss_url(self) -> str:
        return f"wss://localhost:{self._port}"

    def check(self) -> str:
        """What nginx says of its configuration."""
        checked = subprocess.run([*self._command, "-t"], capture_output=True, text=True)
        return checked.stderr

    @property
    def _command(self) -> list[str]:
        path = installed()
        assert path is not None
        return [path, "-c", str(self._main), "-p", str(self._folder), "-e", "stderr"]

    def __enter__(self) -> Self:
        self._log = (self._folder / "log").open("wb")
        self._process = leftovers.start(self._command, stderr=self._log)
        give_up_at = time.monotonic() + START_SECONDS
        while not is_listening(self._port):
            assert self._process.poll() is None, "nginx did not start"
            assert time.monotonic() < give_up_at, "nginx does not listen"
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(STOP_SECONDS)
        self._log.close()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def make_certificate(certificate: Path, key: Path) -> None:
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    subprocess.run([*request, *names, "-out", certificate, "-keyout", key], check=True, capture_output=True)
