"""Standard streams of a process that was started without them (``serve 2>&-``, some supervisors)."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def open_standard_streams() -> None:
    """Open each closed stream of input, output and errors on the null device.

    Python leaves such a stream ``None``, and the next file or connection that is opened gets the stream's number: text
    for standard error would go to a client. A newly opened file takes the lowest free number, so this one takes it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode)  # noqa: SIM115 - open as long as the process
            os.set_inheritable(stream.fileno(), True)  # by the parent of workers and by them, as any such stream
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)  # Python does not count it as closed at its end
