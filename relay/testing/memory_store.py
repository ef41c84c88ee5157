"""The store of a session layer that keeps its sessions in this process."""

from __future__ import annotations

from typing import Any, ClassVar

from relay.layers.base import SessionLayer
from relay.layers.bounds import Bounds
from relay.layers.memory.layer import MemorySessionLayer
from relay.testing.store import Store


class MemoryStore(Store):
    """One layer, which every worker and viewer of a test shares. ``layer_class`` may be a subclass of yours."""

    layer_class: ClassVar[type[MemorySessionLayer]] = MemorySessionLayer

    def __init__(self) -> None:
        super().__init__()
        self._layer: MemorySessionLayer | None = None

    async def layer(self, bounds: Bounds, **channels: Any) -> SessionLayer:
        """See ``Store``."""
        self._layer = self.layer_class(bounds, clock=self.clock, **channels)
        await self._layer.start()
        return self._layer

    async def peer(self) -> SessionLayer:
        """See ``Store``."""
        return self._opened()

    async def forget(self, session_id: str) -> None:
        """See ``Store``."""
        index = self._opened()._index
        session = index.get(session_id)
        assert session is not None, "the session is not in the layer"
        index.forget(session)

    async def close(self) -> None:
        """See ``Store``."""
        if self._layer is not None:
            await self._layer.flush()
            await self._layer.close()

    def _opened(self) -> MemorySessionLayer:
        assert self._layer is not None, "no layer was opened"
        return self._layer
