"""A real nginx as many are set up: it passes requests on, and knows nothing of WebSockets."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Self

from tests import leftovers
from tests.deploy.nginx import MAIN, START_SECONDS, STOP_SECONDS, installed, is_listening
from tests.processes import free_port

SITE = """
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://127.0.0.1:{target};
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Connection "";
    }}
}}
"""


class PlainNginx:
    """Answers on ``http_url``, in front of the port of a gateway."""

    def __init__(self, folder: Path, target: int) -> None:
        self._port = free_port()
        (folder / "site.conf").write_text(SITE.format(port=self._port, target=target))
        user = "user root;" if os.geteuid() == 0 else ""  # else a worker could not read what the tests have made
        (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=user))
        path = installed()
        assert path is not None, "no nginx: scripts/install-deploy-tools.sh installs it"
        self._command = [path, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", "stderr"]
        self._log = (folder / "log").open("wb")

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._process = leftovers.start(self._command, stderr=self._log)
        give_up_at = time.monotonic() + START_SECONDS
        while not is_listening(self._port):
            assert self._process.poll() is None, "nginx did not start"
            assert time.monotonic() < give_up_at, "nginx does not listen"
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(STOP_SECONDS)
        self._log.close()
