"""W3C trace context: the header ``traceparent``. Pure. https://www.w3.org/TR/trace-context/"""

from __future__ import annotations

import re
from typing import Final

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")


def traceparent(shown: str | None) -> str | None:
    """Return the ``traceparent`` that a client sent; an invalid one counts as absent, as the standard says."""
    return shown if shown is not None and _TRACEPARENT.fullmatch(shown) else None


def trace_id(valid: str) -> str:
    """Return the trace's id: 32 hexadecimal digits."""
    return valid[3:35]
