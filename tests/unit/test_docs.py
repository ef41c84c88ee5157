"""What the documentation names in the repository is there."""

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

from tests.processes import ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
TOOLS = {"coverage.py"}  # a package's name
CODE = re.compile(r"`([^`\s]+)`")
FILE = re.compile(r"[\w./-]+\.(?:py|lua|js|ts|sh)|(?:relay|tests|docs|deploy|scripts|benchmarks|sdk|clients)/[\w./-]*")
FOLDERS = ("relay", "gateway_project", "tests", "docs", "deploy", "scripts", "benchmarks", "sdk", "clients")
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
def test_every_link_within_the_repository_leads_somewhere(page):
    for target, heading in re.findall(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)", without_code(page.read_text())):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        assert not heading or heading in headings(path), f"{target}#{heading}"


def without_code(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def headings(page):
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).lower() for title in titles]
    return {re.sub(r"[^\w -]", "", title).replace(" ", "-") for title in plain}


def test_readme_has_its_order():
    titles = re.findall(r"^## (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert titles == [
        "Run it in a minute",
        "Connect your agent",
        "Connect your front end",
        "What is guaranteed, and what is not",
        "What it costs",
        "Production",
        "Development",
    ]


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text()
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")} - {"README.md"}
    assert pages <= set(re.findall(r"\]\(([^)#]+)", index))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_dotted_path_that_a_page_names_can_be_imported(page):
    for name in re.findall(r"`(relay(?:\.\w+){2,})`", page.read_text()):
        resolve_name(name)
