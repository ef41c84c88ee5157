"""What a test process has started ends with it, also if it is killed: by a crash, by Ctrl-C under pytest-xdist.

A watcher, a process of its own, is told what there will be to end. It does so when its line to the tests closes.

    process = leftovers.start(["valkey-server", "--dir", folder], folder=folder)
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

MESSAGE_BYTES = 10_000
STOP_SECONDS = 10.0  # for a process that is not killed at once

_lock = threading.Lock()


def start(
    command: list[str], *, folder: Path | str | None = None, end_by: signal.Signals = signal.SIGKILL, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a program that ends with this process.

    Args:
        folder: it is removed afterwards, if it is still there.
        end_by: the signal to a program that must put something in order.
        options: of ``subprocess.Popen``.
    """
    process = subprocess.Popen(command, **options)
    note(process.pid, None if folder is None else str(folder), end_by)
    return process


def note(pid: int, folder: str | None = None, end_by: signal.Signals = signal.SIGKILL) -> None:
    """Let a process end with this one; a child of the fork server too, which a signal to our group may end first."""
    if hasattr(os, "pidfd_open"):
        with _lock:
            _watcher().send(json.dumps({"pid": pid, "end_by": end_by, "folder": folder}).encode())


def children(pid: int) -> list[int]:
    """The processes that a process has started and not outlived; none of one that has ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def kill(pidfd: int, pid: int) -> None:
    """End a process at once, and all that have come of it: it first, since it may replace a child that ends."""
    family = descendants(pid)
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        for each in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """The children of a process and theirs, whichever of its threads has started them."""
    found = []
    with contextlib.suppress(OSError):  # it ends
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (thread / "children").read_text().split()]
    return found + [each for child in found for each in descendants(child)]


@functools.cache
def _watcher() -> socket.socket:
    """Start the watcher, once for the whole run. It is in a session of its own, so that no terminal ends it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-I", "-S", __file__, str(theirs.fileno())]
        watcher = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    atexit.register(watcher.wait)
    atexit.register(ours.close)
    return ours


# The other side.


def main() -> None:
    """Take notes until the tests have ended, and end what is left."""
    folders = []
    with socket.socket(fileno=int(sys.argv[1])) as line, selectors.DefaultSelector() as selector:
        selector.register(line, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not line:  # a process has ended
                    selector.unregister(key.fileobj)
                    os.close(key.fd)
                    continue
                if not (message := line.recv(MESSAGE_BYTES)):
                    left = [(key.fd, *key.data) for key in selector.get_map().values() if key.fileobj is not line]
                    end(left, folders)
                    return
                told = json.loads(message)
                if told["folder"]:
                    folders.append(told["folder"])
                with contextlib.suppress(ProcessLookupError):
                    pidfd = os.pidfd_open(told["pid"])
                    selector.register(pidfd, selectors.EVENT_READ, (told["pid"], told["end_by"]))


def end(processes: list[tuple[int, int, int]], folders: list[str]) -> None:
    """End processes, each of which may be frozen, and remove folders."""
    for pidfd, _, number in processes:
        with contextlib.suppress(ProcessLookupError):
            if number != signal.SIGKILL:
                signal.pidfd_send_signal(pidfd, number)
                signal.pidfd_send_signal(pidfd, signal.SIGCONT)
    for pidfd, pid, number in processes:
        if number == signal.SIGKILL or not select.select([pidfd], [], [], STOP_SECONDS)[0]:
            kill(pidfd, pid)
        select.select([pidfd], [], [], STOP_SECONDS)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
