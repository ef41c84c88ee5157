"""The rule of the arrows: packages import only what stands below them, and no modules import each other in a circle."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# docs/architecture.md draws this; a package may import from those below it, and from itself.
FLOORS = [
    ["testing"],
    ["apps", "urls", "routing", "templatetags"],
    ["checks"],
    ["management"],
    ["demo_agent"],
    ["admin"],
    ["web"],
    ["adapters"],
    ["server"],
    ["delivery"],
    ["process"],
    ["turns"],
    ["webhooks"],
    ["access"],
    ["policies"],
    ["agent"],
    ["transcripts"],
    ["layers"],
    ["models", "observability"],
    ["conf"],
    ["tasks", "signals", "protocol", "addresses", "database"],
    ["exceptions", "extras"],
    ["translations"],
]
FLOOR_OF = {package: number for number, packages in enumerate(FLOORS) for package in packages}
STANDING_ALONE = {"migrations", "__main__"}  # Django's, and the way to the command


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / "relay").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str) -> Iterator[str]:
    """Name the modules of ``relay`` that a module imports, at its top or within a function."""
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in MODULES else node.module


def package(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


PACKAGED = [name for name in MODULES if package(name) and package(name) not in STANDING_ALONE]


def test_every_package_has_its_floor():
    assert {package(name) for name in PACKAGED} == set(FLOOR_OF)


@pytest.mark.parametrize("name", PACKAGED)
def test_imports_lead_downwards(name):
    home = package(name)
    upwards = [
        target
        for target in imports(name)
        if (other := package(target)) not in {"", home} and FLOOR_OF.get(other, -1) <= FLOOR_OF[home]
    ]
    assert not upwards


def test_no_modules_import_each_other_in_a_circle():
    # A package's own module only names what it offers.
    graph = {name: {target for target in imports(name) if target != name} for name in MODULES if "." in name}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        pytest.fail(" -> ".join(exc.args[1]))


def test_the_picture_in_the_documentation_names_every_package():
    text = (ROOT / "docs" / "architecture.md").read_text()
    missing = [package for package in FLOOR_OF if f"`{package}`" not in text and f"`{package}/`" not in text]
    assert not missing
