"""What the packages hold that people install."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version

from packaging.requirements import Requirement

from tests.sdk.conftest import SDK


def test_npm_package_holds_the_module_its_types_and_its_page():
    command = ["npm", "pack", "--dry-run", "--json"]
    done = subprocess.run(command, cwd=SDK / "javascript", capture_output=True, text=True, check=True, timeout=60)
    (package,) = json.loads(done.stdout)
    assert {file["path"] for file in package["files"]} == {"package.json", "index.js", "index.d.ts", "README.md"}


def test_wheel_is_built_and_needs_the_standard_library_alone(tmp_path):
    """(The build's own tool, hatchling, is that of the tests: pip would download it.)"""
    (backend,) = tomllib.loads((SDK / "python" / "pyproject.toml").read_text())["build-system"]["requires"]
    assert Requirement(backend).specifier.contains(version(Requirement(backend).name))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "-w", str(tmp_path), str(SDK / "python")], check=True, timeout=100)
    (wheel,) = tmp_path.glob("relay_agent-*.whl")
    assert {"relay_agent/__init__.py", "relay_agent/py.typed"} <= set(zipfile.ZipFile(wheel).namelist())
    use = f"import sys; sys.path.insert(0, {str(wheel)!r}); import relay_agent; print(relay_agent.agent.__module__)"
    used = subprocess.run([sys.executable, "-I", "-S", "-c", use], capture_output=True, text=True, check=True)
    assert used.stdout.strip() == "relay_agent"
