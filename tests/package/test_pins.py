"""The ranges of ``pyproject.toml``, and what ``make pins`` compiled from them, say the same."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.processes import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
GROUPS = PYPROJECT["dependency-groups"]
RUNS = [*PROJECT["dependencies"], *EXTRAS["redis"], *EXTRAS["postgres"], *EXTRAS["serve"]]


def pins(name: str) -> dict[str, str]:
    """Return the version of each package in a compiled file."""
    lines = [line.split(";")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(package): version for package, version in pairs}


def own(group: str) -> Iterable[str]:
    return (line for line in GROUPS[group] if isinstance(line, str))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("requirements.txt", RUNS),
        ("requirements-tracing.txt", EXTRAS["tracing"]),
        ("requirements-dev.txt", [*RUNS, *EXTRAS["tracing"], *own("dev"), *own("bench")]),
        ("requirements-django-6.0.txt", own("django-6.0")),
        ("requirements-django-6.1.txt", own("django-6.1")),
        ("requirements-mutants.txt", own("mutants")),
        ("requirements-agents.txt", own("agents")),
    ],
)
def test_pins_are_within_the_ranges(name, wanted):
    pinned = pins(name)
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_one_package_has_one_version_in_what_is_installed_together():
    tests = pins("requirements-dev.txt").items()
    assert pins("requirements.txt").items() <= tests
    assert pins("requirements-tracing.txt").items() <= tests


def test_tests_build_with_the_backend_that_an_installer_takes():
    (backend,) = PYPROJECT["build-system"]["requires"]
    assert backend in GROUPS["dev"]


def test_each_version_that_the_package_names_is_tested():
    named = [line.rpartition(" :: ") for line in PROJECT["classifiers"]]
    pythons = {version for kind, _, version in named if kind == "Programming Language :: Python" and "." in version}
    djangos = {version for kind, _, version in named if kind == "Framework :: Django"}
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    rows = jobs["versions"]["strategy"]["matrix"]["include"]
    whole_suite = next(step["with"]["python-version"] for step in jobs["test"]["steps"] if "python" in str(step))
    assert pythons <= {whole_suite} | {row["python"] for row in rows}
    assert djangos == {pins("requirements-dev.txt")["django"].rpartition(".")[0]} | {row["django"] for row in rows}
    on_one_machine = (ROOT / ".ci" / "run").read_text()
    assert all(f"DJANGO={row['django']}" in on_one_machine for row in rows)
