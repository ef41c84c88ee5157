"""What the documentation names in the repository is there."""

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

from tests.processes import ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
TOOLS = {"coverage.py"}  # a package's name
CODE = re.compile(r"`([^`\s]+)`")
FILE = re.compile(r"[\w./-]+\.(?:py|lua|js|ts|sh)|(?:relay|tests|docs|deploy|scripts|benchmarks|sdk)/[\w./-]*")
FOLDERS = ("relay", "gateway_project", "tests", "docs", "deploy", "scripts", "benchmarks", "sdk")
NAMES = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")} | {"manage.py"}


def missing(word):
    """Is this a file of ours that does not exist? A page may leave out ``relay/``, or the folder."""
    path = Path(word)
    if len(path.parts) == 1 and not word.endswith("/"):
        return word not in NAMES | TOOLS
    return not any((base / path).exists() for base in (ROOT, ROOT / "relay"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page):
    words = [word for word in CODE.findall(page.read_text()) if FILE.fullmatch(word)]
    assert [word for word in words if missing(word)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_dotted_path_that_a_page_names_can_be_imported(page):
    for name in re.findall(r"`(relay(?:\.\w+){2,})`", page.read_text()):
        resolve_name(name)
