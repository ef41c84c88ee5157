"""The response of ``/metrics``: the metrics of this process, or of all workers of ``serve --workers``.

A worker's samples have the label ``worker``, its number. No sample is added up: that is for Prometheus to do.
"""

from __future__ import annotations

import asyncio

from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from relay.observability.worker_metrics import Labelled, merge
from relay.process import lifecycle
from relay.process.supervision import ParentLink, parent


async def scrape(accept: str) -> tuple[bytes, str]:
    """Return the metrics in the format that HTTP's ``Accept`` asks for, and its content type."""
    link = parent()
    encode, content_type = choose_encoder(accept)
    if link is None:
        await _refresh()
        return encode(REGISTRY), content_type
    own, others = await asyncio.gather(report_of(link, accept), link.collect(accept))
    return merge([own, *others]).encode(), content_type


async def report_of(link: ParentLink, accept: str) -> str:
    """Return a worker's own metrics, labelled with its number."""
    await _refresh()
    encode, _ = choose_encoder(accept)
    return encode(Labelled(REGISTRY, worker=str(link.number))).decode()


async def _refresh() -> None:
    """Make the checks of /ready, so that their metrics are fresh even if /ready is never requested."""
    await (await lifecycle.current()).readiness.checks()
