"""The contract suite of session layers: run it against your own. ``docs/extending.md`` shows how.

It needs the extra ``testing``: pytest, pytest-asyncio and hypothesis.
"""

import pytest

pytest.register_assert_rewrite("relay.testing.contract", "relay.testing.turns")

from relay.testing.clock import Clock  # noqa: E402 (pytest rewrites what is imported from now on)
from relay.testing.memory_store import MemoryStore  # noqa: E402
from relay.testing.store import Store  # noqa: E402

__all__ = ["Clock", "MemoryStore", "Store"]
