"""Run the Dockerfile's steps without Docker, and test the result: ``make image-test``.

A clean virtual environment from requirements.txt alone, the wheel built from exactly the files that the image takes,
and the image's own command, as a user who may write nothing. Then the image's own health check has to succeed, and the
stop signal ends the process with 0.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 30.0
IGNORED = shutil.ignore_patterns("__pycache__")

Step = tuple[str, str]  # an instruction of the Dockerfile and what follows it


def main() -> int:
    packages, gateway, image = stages((ROOT / "Dockerfile").read_text())
    with tempfile.TemporaryDirectory(prefix="gateway-image-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # readable for the image's user
        report("creating a virtual environment from requirements.txt alone")
        build(packages, folder)
        report("building the gateway's wheel from the files that the image takes")
        build(gateway, folder)
        assemble(image, folder)
        report("running its command as a user without write permission")
        try_it(image, folder)
    print("The image's steps work.")
    return 0


def report(step: str) -> None:
    print(f"- {step}", flush=True)


def stages(text: str) -> list[list[Step]]:
    """Parse a Dockerfile into stages, and their instructions in order."""
    found: list[list[Step]] = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if line and not line.startswith("#"):
            instruction, _, rest = line.partition(" ")
            if instruction == "FROM":
                found.append([])
            found[-1].append((instruction, rest))
    return found


def values(stage: list[Step], instruction: str) -> Iterator[str]:
    return (rest for name, rest in stage if name == instruction)


def build(stage: list[Step], folder: Path) -> None:
    for sources in values(stage, "COPY"):
        copy(sources, folder)
    for command in values(stage, "RUN"):
        run([*placed(command, folder), readable_python(folder)], cwd=folder)


def assemble(stage: list[Step], folder: Path) -> None:
    (workdir,) = values(stage, "WORKDIR")
    app = folder / workdir.strip("/")
    app.mkdir()
    for sources in values(stage, "COPY"):
        if not sources.startswith("--from"):
            copy(sources, app)
            continue
        source, target = placed(sources.partition(" ")[2], folder)
        if source != target:
            shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


def try_it(stage: list[Step], folder: Path) -> None:
    (workdir,) = values(stage, "WORKDIR")
    app = folder / workdir.strip("/")
    user = int(re.findall(r"--uid (\d+)", next(values(stage, "RUN")))[0])
    as_user = {"user": user, "group": user, "extra_groups": []} if os.geteuid() == 0 else {}
    environment = {
        name: value.replace("$PATH", os.defpath).replace("/venv", str(folder / "venv"))
        for rest in values(stage, "ENV")
        for name, value in (pair.split("=", 1) for pair in shlex.split(rest))
    }
    environment["LD_LIBRARY_PATH"] = str(folder / "python" / "lib")  # of the copy, if there is one
    port = str(free_port())
    (command,), (check,) = values(stage, "CMD"), values(stage, "HEALTHCHECK")
    command = json.loads(command.replace("8000", port))
    check = json.loads(check.partition("CMD ")[2].replace("8000", port))
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    before = {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
    options = {"cwd": app, "env": environment, **as_user}

    process = subprocess.Popen(["env", *command], **options)
    try:
        give_up_at = time.monotonic() + START_SECONDS
        while subprocess.run(["env", *check], stderr=subprocess.DEVNULL, **options).returncode != 0:
            if process.poll() is not None or time.monotonic() > give_up_at:
                sys.exit("The health check did not succeed.")
            time.sleep(0.2)
        (stop_signal,) = values(stage, "STOPSIGNAL")
        process.send_signal(signal.Signals[stop_signal])
        code = process.wait(STOP_SECONDS)
    finally:
        process.kill()
        process.wait()
        folder.chmod(0o755)
    if code != 0:
        sys.exit(f"After {stop_signal} the process exited with {code} instead of 0.")
    after = {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
    if after != before:
        sys.exit(f"The process has written files: {sorted(map(str, after.items() ^ before.items()))[:5]}")


def copy(sources: str, destination: Path) -> None:
    """Copy as COPY does: a folder's content, files into a folder; files in .dockerignore are left out."""
    *names, target = shlex.split(sources)
    into = destination / target.removeprefix("/")
    for name in names:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, into, ignore=IGNORED)
        else:
            into.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, into)


def placed(command: str, folder: Path) -> list[str]:
    """The words of a command, with the image's absolute paths inside the folder."""
    return [str(folder / word[1:]) if word.startswith("/") else word for word in shlex.split(command)]


def readable_python(folder: Path) -> str:
    """This Python, or a copy of it where other users cannot read it: in a home directory, for example."""
    base = Path(sys.base_prefix)
    executable = Path("bin") / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    if all(parent.stat().st_mode & 0o005 == 0o005 for parent in (base, *base.parents)):
        return str(base / executable)
    if not (folder / "python").exists():
        ignored = shutil.ignore_patterns("__pycache__", "test", "site-packages")
        shutil.copytree(base, folder / "python", ignore=ignored)
    return str(folder / "python" / executable)


def run(command: list[str], cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
