"""What a release is made of: its version in each place, its notes, and its files with their checksums.

    python -m scripts.release set 0.2.0        writes the version, and dates the changelog's newest part
    python -m scripts.release check v0.2.0     is this tag the version of everything?
    python -m scripts.release notes v0.2.0     prints that version's part of the changelog
    python -m scripts.release build dist       builds wheels, source distributions, npm's tarballs, and SHA256SUMS

docs/releasing.md says when each is run.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?"
UNRELEASED = "## Unreleased\n"
SUMS = "SHA256SUMS"
PYTHON_PACKAGES = (".", "sdk/python")
NPM_PACKAGES = ("clients/javascript", "sdk/javascript")
# Every file that names the version, and what stands before it there. An example of its text in docs/ is one of them.
PLACES = {
    "README.md": r"agent-gateway@v",
    "relay/__init__.py": r'__version__ = "',
    "sdk/python/pyproject.toml": r'\nversion = "',
    "sdk/javascript/package.json": r'"version": "',
    "clients/javascript/package.json": r'"version": "',
    "clients/javascript/README.md": r"agent-gateway-client-",
    "deploy/helm/Chart.yaml": r"\n(?:appV|v)ersion: ",
    "deploy/helm/values.yaml": r"/gateway:",
    "deploy/kubernetes/gateway.yaml": r"/gateway:",
    "docs/access.md": r'"service":"gateway","version":"',
    "docs/client.md": r"agent-gateway-client-",
    "docs/recipes.md": r"/gateway:",
}


class ReleaseInvalid(Exception):
    """The release cannot be made; ``str`` says why."""


def versions() -> dict[str, set[str]]:
    """Return the versions that each file names."""
    return {name: set(re.findall(f"(?:{before})({VERSION})", _read(name))) for name, before in PLACES.items()}


def check(version: str) -> None:
    """Make sure that everything has this version, and the changelog a part about it.

    Raises:
        ReleaseInvalid: a file names another.
    """
    others = {name: found for name, found in versions().items() if found != {version}}
    if others:
        words = "; ".join(f"{name} names {', '.join(sorted(found)) or 'none'}" for name, found in others.items())
        raise ReleaseInvalid(f"Not everything is version {version}: {words}.")
    notes(version)


def notes(version: str) -> str:
    """Return a version's part of the changelog.

    Raises:
        ReleaseInvalid: there is none.
    """
    found = re.search(rf"^## {re.escape(version)}(?: [^\n]*)?\n(.*?)(?=^## |\Z)", _read("CHANGELOG.md"), re.M | re.S)
    if found is None or not found[1].strip():
        raise ReleaseInvalid(f"CHANGELOG.md has nothing about {version}.")
    return found[1].strip() + "\n"


def set_version(version: str) -> None:
    """Write the version into each file, and make the changelog's unreleased part its own."""
    for name, before in PLACES.items():
        text = re.sub(f"({before}){VERSION}", rf"\g<1>{version}", _read(name))
        (ROOT / name).write_text(text)
    changelog = _read("CHANGELOG.md")
    heading = f"## {version} ({datetime.now(UTC):%Y-%m-%d})\n"
    (ROOT / "CHANGELOG.md").write_text(changelog.replace(UNRELEASED, f"{UNRELEASED}\n{heading}", 1))


def build(folder: Path) -> None:
    """Build every file of a release into a folder, and write their checksums. It may exist, but holds nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ReleaseInvalid(f"{folder} is not empty.")
    folder = folder.resolve()
    for package in PYTHON_PACKAGES:
        command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
        subprocess.run(command, cwd=ROOT / package, check=True, stdout=subprocess.DEVNULL)
    for package in NPM_PACKAGES:
        command = ["npm", "pack", "--silent", "--pack-destination", str(folder)]
        subprocess.run(command, cwd=ROOT / package, check=True, stdout=subprocess.DEVNULL)
    files = sorted(folder.iterdir())
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (folder / SUMS).write_text(sums)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["set", "check", "notes", "build"])
    parser.add_argument("argument", help="a version, or the tag of one; for build a folder")
    options = parser.parse_args()
    if options.action == "build":
        build(Path(options.argument))
        return 0
    version = options.argument.removeprefix("v")
    if not re.fullmatch(VERSION, version):
        raise ReleaseInvalid(f"{options.argument} is no version, such as 0.2.0 or v0.2.0rc1.")
    if options.action == "set":
        set_version(version)
    elif options.action == "check":
        check(version)
    else:
        print(notes(version), end="")
    return 0


def _read(name: str) -> str:
    return (ROOT / name).read_text()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ReleaseInvalid as invalid:
        sys.exit(str(invalid))
