"""The modules of the contract suite share one namespace: none may hide a test or a fixture of another."""

import importlib
import pkgutil

import pytest
from _pytest.fixtures import FixtureFunctionDefinition

from relay.testing import contract

NAMES = [found.name for found in pkgutil.iter_modules(contract.__path__)]
MODULES = [importlib.import_module(f"{contract.__name__}.{name}") for name in NAMES]


def offered(module):
    """The tests and fixtures that a module has itself."""
    return {
        name: value
        for name, value in vars(module).items()
        if name.startswith(("test_", "Test")) or isinstance(value, FixtureFunctionDefinition)
    }


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_the_suite_has_every_test_and_fixture_of_its_modules(module):
    assert offered(module)
    assert {name for name, value in offered(module).items() if getattr(contract, name, None) is not value} == set()
