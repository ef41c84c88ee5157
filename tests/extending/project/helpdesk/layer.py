"""Keeps sessions as the gateway does, and notes which are erased."""

import logging

from relay.layers.memory import MemorySessionLayer

logger = logging.getLogger(__name__)


class AuditedLayer(MemorySessionLayer):
    async def delete(self, session_id: str) -> bool:
        existed = await super().delete(session_id)
        logger.info("%s erased: %s", session_id, existed)
        return existed
