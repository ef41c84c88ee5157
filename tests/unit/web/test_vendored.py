"""The chat page's files of other packages are those of the package index, byte for byte, with licence and version."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "relay/static/relay/vendor"
NPM = ROOT / "tests/javascript"
VENDORED: list[dict[str, Any]] = json.loads((FOLDER / "vendored.json").read_text())
each = pytest.mark.parametrize("entry", VENDORED, ids=[entry["package"] for entry in VENDORED])


def test_every_script_is_listed() -> None:
    assert {path.name for path in FOLDER.glob("*.js")} == {entry["file"] for entry in VENDORED}


@each
def test_file_has_the_checksum_of_its_version(entry: dict[str, Any]) -> None:
    assert hashlib.sha256((FOLDER / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]


@each
def test_version_is_the_one_that_npm_pins(entry: dict[str, Any]) -> None:
    wanted = json.loads((NPM / "package.json").read_text())["devDependencies"][entry["package"]]
    locked = json.loads((NPM / "package-lock.json").read_text())["packages"][f"node_modules/{entry['package']}"]
    assert wanted == locked["version"] == entry["version"]
    assert locked["license"] == entry["license"]


@each
def test_licence_is_beside_the_file(entry: dict[str, Any]) -> None:
    assert "copyright" in (FOLDER / entry["license_file"]).read_text().lower()


@each
def test_file_is_that_of_the_installed_package(entry: dict[str, Any]) -> None:
    package = NPM / "node_modules" / entry["package"]
    if not package.exists():
        pytest.skip("npm's packages are not installed: `make check` installs them")
    assert (package / entry["path"]).read_bytes() == (FOLDER / entry["file"]).read_bytes()
    assert (package / "LICENSE").read_bytes() == (FOLDER / entry["license_file"]).read_bytes()


def test_a_project_may_name_static_files_by_their_content(settings: Any, tmp_path: Path) -> None:
    """Django then follows each reference in a file, also the one to the source map of a published one."""
    settings.STATIC_ROOT = tmp_path
    storage = {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": storage}
    call_command("collectstatic", interactive=False, verbosity=0)
    assert "relay/chat.js" in json.loads((tmp_path / "staticfiles.json").read_text())["paths"]
