"""The contract of session layers, over the project's own."""

# ruff: noqa: F403
import pytest
from helpdesk.layer import AuditedLayer

from relay.testing import MemoryStore
from relay.testing.contract import *


class AuditedStore(MemoryStore):
    layer_class = AuditedLayer


@pytest.fixture
def make_store() -> type[MemoryStore]:
    return AuditedStore
