"""What the packages hold that people install."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

from tests.sdk.conftest import SDK


def test_npm_package_holds_the_module_its_types_and_its_page():
    command = ["npm", "pack", "--dry-run", "--json"]
    done = subprocess.run(command, cwd=SDK / "javascript", capture_output=True, text=True, check=True, timeout=60)
    (package,) = json.loads(done.stdout)
    assert {file["path"] for file in package["files"]} == {"package.json", "index.js", "index.d.ts", "README.md"}


def test_wheel_is_built_and_needs_the_standard_library_alone(tmp_path):
    """(pip gets the build's own tool, hatchling.)"""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(SDK / "python")]
    subprocess.run(build, check=True, timeout=100)
    (wheel,) = tmp_path.glob("relay_agent-*.whl")
    assert {"relay_agent/__init__.py", "relay_agent/py.typed"} <= set(zipfile.ZipFile(wheel).namelist())
    use = f"import sys; sys.path.insert(0, {str(wheel)!r}); import relay_agent; print(relay_agent.agent.__module__)"
    used = subprocess.run([sys.executable, "-I", "-S", "-c", use], capture_output=True, text=True, check=True)
    assert used.stdout.strip() == "relay_agent"
