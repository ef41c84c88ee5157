"""Install pinned packages into a virtual environment, and say how far it is: ``python -m scripts.install .venv FILE``.

It runs before anything is installed, with whatever Python there is: standard library only, and nothing newer than 3.7
until the version is checked.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from gateway_project.progress import Progress, run

NEEDED = (3, 11)
# Modules are compiled when they are first imported: most never are.
PIP = [
    *["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-compile"],
    *["--progress-bar", "off", "--retries", "2"],
]
STEP = 10  # packages between two lines
NO_NETWORK = re.compile(
    r"Failed to establish a new connection|name resolution|Name or service not known|Network is unreachable"
    r"|timed out|ProxyError|Connection refused|SSLError|CERTIFICATE_VERIFY_FAILED"
)
NO_VENV = "Python's venv module is missing. On Debian and Ubuntu: apt install python3-venv"
NO_INDEX = """\
The packages could not be downloaded: the package index cannot be reached. Is this machine online? Behind a proxy, set
HTTPS_PROXY; for an index of your own, PIP_INDEX_URL. Then run the same command again: it goes on from here.
"""
MAX_LINES = 15  # of pip's own words, where there are none of ours


class Pip:
    """Takes pip's output, and says what a person wants to know of it."""

    def __init__(self, progress: Progress, packages: int) -> None:
        self._progress = progress
        self._packages = packages
        self._found = 0
        self.lines: list[str] = []

    @property
    def is_offline(self) -> bool:
        """Did it fail to reach the package index?"""
        return any(NO_NETWORK.search(line) for line in self.lines)

    def take(self, line: str) -> None:
        """Take a line of output."""
        self.lines.append(line)
        if line.startswith("Ignoring "):  # it is for other systems
            self._packages -= 1
        elif line.startswith("Collecting "):
            self._found += 1
            if self._found % STEP == 0:
                self._progress.say(f"  {self._found} of {self._packages} packages downloaded")
        elif line.startswith("Installing collected packages"):
            self._progress.say(f"  all {self._found} packages downloaded; unpacking them")
        elif "Retrying" in line and len([word for word in self.lines if "Retrying" in word]) == 1:
            self._progress.say("  the package index does not respond; retrying")


def make_environment(folder: Path, progress: Progress) -> bool:
    """Make the virtual environment, unless it is there."""
    if any((folder / name).exists() for name in ("bin/pip", "bin/pip3")):
        return True
    progress.say(f"Creating {folder} with Python {'.'.join(map(str, sys.version_info[:3]))}.")
    said: list[str] = []
    was_there = folder.exists()
    if run([sys.executable, "-m", "venv", str(folder)], progress, said.append) == 0:
        return True
    if not was_there:
        shutil.rmtree(folder, ignore_errors=True)
    progress.say(
        NO_VENV if any("ensurepip" in line or "No module named venv" in line for line in said) else "\n".join(said)
    )
    return False


def main(folder: Path, requirements: Path) -> int:
    """Install the packages; give an exit code."""
    if sys.version_info < NEEDED:
        print("Python 3.11 or newer is required; select it with: make PYTHON=python3.12 …")
        return 1
    progress = Progress(write=lambda words: print(words, flush=True))
    if not make_environment(folder, progress):
        return 1
    packages = len(re.findall(r"^[\w.-]+==", requirements.read_text(), re.MULTILINE))
    minutes = "about a minute" if packages < 100 else "some minutes"
    progress.say(f"Installing some {packages // STEP * STEP} packages into {folder}, {minutes} …")
    pip = Pip(progress, packages)
    exit_code = run([str(folder / "bin" / "python"), *PIP, "-r", str(requirements)], progress, pip.take)
    if exit_code:
        progress.say(NO_INDEX if pip.is_offline else "\n".join(pip.lines[-MAX_LINES:]))
    return 1 if exit_code else 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
    except KeyboardInterrupt:
        sys.exit(130)
