"""A person's terminal: ``manage.py`` in it, and what a person types and sees."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import signal
import struct
import termios
import time
from typing import Self

from tests import processes

LIMIT_SECONDS = 60


class Terminal:
    """A command of ``manage.py`` in a pseudo terminal, of the usual 24 lines and 80 columns unless told otherwise."""

    def __init__(self, *arguments: str, lines: int = 24, columns: int = 80, **env: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        env = processes.environment(LANG="C.UTF-8", TERM="xterm", LINES=str(lines), COLUMNS=str(columns), **env)
        self.process = processes.launch(
            ["manage.py", *arguments], cwd=processes.ROOT, env=env, source=slave, output=slave, is_leader=True
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")  # a read may end within a character
        self.shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        os.close(self._master)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def press_ctrl_c(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def wait_for(self, text: str) -> str:
        """Read until ``text`` appears in what was not waited for yet; return what stands before it."""
        give_up_at = time.monotonic() + LIMIT_SECONDS
        while text not in self.shown:
            assert time.monotonic() < give_up_at, f"{text!r} did not appear: {self.shown!r}"
            assert self._read(), f"the command ended before {text!r}: {self.shown!r}"
        before, _, self.shown = self.shown.partition(text)
        return before

    def read_to_end(self) -> str:
        """Read until the command has ended; return what was not waited for yet."""
        give_up_at = time.monotonic() + LIMIT_SECONDS
        while self._read():
            assert time.monotonic() < give_up_at, f"the command does not end: {self.shown!r}"
        return self.shown

    def _read(self) -> bool:
        """Read what there is; return whether there may be more."""
        try:
            self.shown += self._decoder.decode(os.read(self._master, 65_536))
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            return False
        return True

    def wait_ended(self) -> int:
        return self.process.wait(LIMIT_SECONDS)
