"""Words for a person who waits: what is being done, and every few seconds that it continues. Standard library only."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

QUIET_SECONDS = 4.0


class Progress:
    """Says a line, and another one whenever there was none for a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, write: Callable[[str], None] = print) -> None:
        self._clock = clock
        self._write = write
        self._started_at = self._said_at = clock()

    def say(self, words: str) -> None:
        """Say a line now."""
        self._write(words)
        self._said_at = self._clock()

    def tick(self) -> None:
        """Say how long it has taken so far, if nothing was said for a while. To be called all the time."""
        if self._clock() - self._said_at >= QUIET_SECONDS:
            self.say(f"  … {self._clock() - self._started_at:.0f} s")


def run(
    command: Sequence[str],
    progress: Progress,
    on_line: Callable[[str], None] | None = None,
    env: Mapping[str, str] | None = None,
) -> int:
    """Run a command to its end, and give its exit code.

    Args:
        on_line: takes each line of its output; ``None``: the output is left alone.
    """
    pipe = None if on_line is None else subprocess.PIPE
    output = None if on_line is None else subprocess.STDOUT
    lines: deque[str] = deque()
    with subprocess.Popen(command, stdout=pipe, stderr=output, text=True, errors="replace", env=env) as process:
        reading = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
        reading.start()
        while process.poll() is None or reading.is_alive() or lines:
            while lines and on_line is not None:
                on_line(lines.popleft().rstrip())
            progress.tick()
            time.sleep(0.05)
        return process.returncode
