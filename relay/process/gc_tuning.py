"""How often Python looks for garbage that refers to itself, and in how much.

A full collection looks at every object, and nothing else happens meanwhile: half a second with 5,000 sockets open. By
default it follows every 70,000 new objects as long as the heap grows, so a crowd that connects is stopped again and
again.
"""

from __future__ import annotations

import gc
from typing import Final

# Young objects of a burst die before they are checked; a full collection follows every million new objects. The
# garbage of closed sockets meanwhile, some 30 to 60 kB each, stays below 150 MB.
THRESHOLDS: Final = (10_000, 10, 10)


def freeze_startup_objects() -> None:
    """Leave what the start has made (modules, Django, settings) out of every collection to come; look less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
