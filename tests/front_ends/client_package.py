"""The JavaScript client as its users get it: packed by npm, and installed from the tarball."""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
from pathlib import Path

from tests.front_ends.node import FOLDER
from tests.processes import ROOT, START_SECONDS, environment

SOURCE = ROOT / "clients" / "javascript"
NAME = "agent-gateway-client"


@functools.cache
def packed() -> Path:
    """The tarball, made once."""
    folder = tempfile.mkdtemp(prefix="npm-pack-")
    said = run(["npm", "pack", "--json", "--pack-destination", folder, str(SOURCE)], ROOT)
    ((package,),) = [json.loads(said)]
    return Path(folder) / package["filename"]


def install(folder: Path, *others: str) -> Path:
    """Install the tarball into a project of its own; other packages are those of the tests."""
    (folder / "package.json").write_text('{"private":true,"type":"module"}')
    run(["npm", "install", "--offline", "--silent", "--no-package-lock", str(packed())], folder)
    for name in others:
        link = folder / "node_modules" / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(FOLDER / "node_modules" / name)
    return folder


def run(command: list[str], folder: Path, **more: str) -> str:
    """Run a command in a folder, and give what it prints."""
    done = subprocess.run(
        command, cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=START_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
