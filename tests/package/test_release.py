"""What a release is made of."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import yaml

import relay
from scripts import release
from tests.processes import ROOT

V = relay.__version__


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the files that name the version, for the release to change."""
    for name in (*release.PLACES, "CHANGELOG.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(release, "ROOT", tmp_path)
    return tmp_path


def test_everything_names_one_version():
    assert release.versions() == {name: {V} for name in release.PLACES}


def test_version_is_written_everywhere_and_the_changelog_is_closed(copy):
    news = release.notes("Unreleased")
    release.set_version("7.8.9")
    release.check("7.8.9")
    assert release.notes("7.8.9") == news
    with pytest.raises(release.ReleaseInvalid, match=r"Not everything is version 0\.0\.1: .*names 7\.8\.9"):
        release.check("0.0.1")


def test_version_without_news_is_refused(copy):
    (copy / "CHANGELOG.md").write_text(f"# Changelog\n\n## {V}\n\n## 0.0.9\n\n- News.\n")
    with pytest.raises(release.ReleaseInvalid, match=f"CHANGELOG.md has nothing about {V}"):
        release.check(V)


def test_files_of_a_release_have_checksums_and_the_same_bytes_each_time(tmp_path, wheel):
    folder = tmp_path / "dist"
    release.build(folder)
    assert {path.name for path in folder.iterdir()} == {
        *(f"{name}-{V}{end}" for name in ("agent_gateway", "relay_agent") for end in ("-py3-none-any.whl", ".tar.gz")),
        *(f"{name}-{V}.tgz" for name in ("agent-gateway-client", "relay-agent")),
        release.SUMS,
    }
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", release.SUMS], cwd=folder, check=True)
    assert (folder / wheel.name).read_bytes() == wheel.read_bytes()
    with pytest.raises(release.ReleaseInvalid, match="is not empty"):
        release.build(folder)


def test_workflow_and_page_run_what_there_is():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    steps = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    text = "\n".join([*steps, (ROOT / "docs" / "releasing.md").read_text()])
    assert set(re.findall(r"-m scripts\.release (\w+)", text)) == {"set", "check", "notes"}
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z-]+)", text):
        assert f"\n{target}:" in makefile
