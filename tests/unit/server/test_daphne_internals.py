"""The fence around private names of daphne, autobahn and Twisted: no module but ``daphne_internals`` has one."""

import ast
import functools
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.tcp import Connection

from relay.server import daphne_internals

ROOT = Path(__file__).resolve().parents[3]
FENCE = Path(daphne_internals.__file__)
THEIR_IMPORT = re.compile(r"^\s*(from|import) (autobahn|daphne|twisted)\b", re.MULTILINE)
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "relay").rglob("*.py"))
    if path != FENCE and (path.parent == FENCE.parent or THEIR_IMPORT.search(path.read_text()))
]


def private_names(tree: ast.AST, *, on_self: bool = True) -> Iterator[str]:
    """Name the private attributes that a piece of code uses or defines; or those that it uses of other objects."""
    for node in ast.walk(tree):
        name = ""
        if isinstance(node, ast.Attribute):
            is_own = isinstance(node.value, ast.Name) and node.value.id == "self"
            name = node.attr if on_self or not is_own else ""
        elif on_self and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name = node.name
        elif on_self and isinstance(node, ast.Name):
            name = node.id
        if name.startswith("_") and not name.endswith("__"):
            yield name


@functools.cache
def names_in(cls: type) -> set[str]:
    return set(private_names(ast.parse(inspect.getsource(cls))))


def their_names(cls: type) -> set[str]:
    """Name the private attributes of a class that come from daphne, autobahn and Twisted."""
    bases = [base for base in cls.__mro__ if base.__module__.startswith(("autobahn.", "daphne.", "twisted."))]
    return set().union(*map(names_in, bases))


def classes(module: str) -> list[type]:
    members = vars(importlib.import_module(module)).values()
    return [member for member in members if isinstance(member, type) and member.__module__ == module]


@pytest.mark.parametrize("cls", [cls for module in MODULES for cls in classes(module)], ids=lambda cls: cls.__name__)
def test_class_has_no_private_name_of_its_foreign_bases(cls):
    assert not names_in(cls) & their_names(cls)


@pytest.mark.parametrize("name", MODULES)
def test_module_uses_no_private_name_of_their_objects(name):
    theirs = set().union(*map(their_names, [Connection, *classes(daphne_internals.__name__)]))
    own = set().union(*map(names_in, classes(name)))
    source = inspect.getsource(importlib.import_module(name))
    assert not set(private_names(ast.parse(source), on_self=False)) & theirs - own


def test_fence_has_only_public_names_that_the_libraries_do_not_have():
    """A method of ours must not take the place of one of theirs by accident."""
    for cls in classes(daphne_internals.__name__):
        added = {name for name in vars(cls) if not name.startswith("_")}
        assert not [name for name in added for base in cls.__mro__[1:] if name in vars(base)]
