"""The wheel, built once from what Git would keep, and installed where nothing of the checkout is: fixtures."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from typing import NamedTuple

import django
import pytest

from tests.newcomer import copy_checkout


class Installed(NamedTuple):
    """A virtual environment with the wheel, and a folder to work in that holds nothing."""

    bin: Path
    packages: Path
    folder: Path

    @property
    def python(self) -> str:
        """Its interpreter, for ``tests.processes``."""
        return str(self.bin / "python")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    copy_checkout(folder / "checkout")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=folder / "checkout", check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The dependencies are those of the tests: they are named, not downloaded again."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", symlinks=True)
    bin_folder = folder / "venv" / "bin"
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.check_output([bin_folder / "python", "-c", query], text=True).strip())
    pip = [sys.executable, "-m", "pip", "--python", str(bin_folder / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    (packages / "dependencies.pth").write_text(f"{Path(django.__file__).parent.parent}\n")
    return Installed(bin_folder, packages, tmp_path_factory.mktemp("work"))
