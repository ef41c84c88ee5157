"""``serve --workers``: how many processes, and the change of this one into their parent.

The parent is another program in this process, so that the process manager's id stays right, and little memory is used:
it runs without Django. Workers are started as this process was, so each reads code and settings as they are then.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

from django.utils.autoreload import get_child_arguments

from relay.conf import conf
from relay.conf.env_file import without_file

CGROUPS: Final = Path("/sys/fs/cgroup")
OWN_CGROUP: Final = Path("/proc/self/cgroup")
PROGRAM: Final = Path(__file__).with_name("supervise.py")


def core_count(cgroups: Path = CGROUPS, own_cgroup: Path = OWN_CGROUP) -> int:
    """Return the number of cores that this process may use, by its affinity and by the quotas of its control groups.

    Args:
        cgroups: where the control groups of version 2 are; a container's CPU limit is such a quota.
        own_cgroup: the file that names this process's group.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([cores, *_quotas(cgroups, own_cgroup)])


def _quotas(cgroups: Path, own_cgroup: Path) -> Iterator[int]:
    try:
        group = cgroups / own_cgroup.read_text().rpartition("0::/")[2].strip()
    except OSError:
        return
    while group.is_relative_to(cgroups):
        try:
            quota, period = (group / "cpu.max").read_text().split()
            yield math.ceil(int(quota) / int(period))
        except (OSError, ValueError):
            pass  # there is no quota: "max"
        group = group.parent


def become_parent(count: int, listener: socket.socket, *, unlink: str | None, is_foreign: bool) -> NoReturn:
    """Go on as the parent of workers, in the same process.

    Args:
        count: of the workers.
        listener: their socket, which listens already.
        unlink: the path of a Unix socket, to be removed at the end.
        is_foreign: does another program continue with the socket afterwards?
    """
    listener.set_inheritable(True)
    options = [f"--workers={count}", f"--listener={listener.fileno()}", f"--log-level={conf.log_level}"]
    is_log_for_people = conf.log_format == "console" or (conf.log_format == "auto" and sys.stderr.isatty())
    options += ["--log-text"] if is_log_for_people else []
    options += [f"--unlink={unlink}"] if unlink is not None else []
    options += ["--is-foreign"] if is_foreign else []
    command = [sys.executable, "-P", str(PROGRAM), *options, "--", *map(str, get_child_arguments())]
    logging.shutdown()
    os.execve(sys.executable, command, without_file(os.environ))  # noqa: S606 - no shell is wanted
