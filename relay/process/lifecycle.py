"""The parts of a gateway in one event loop: session layer, agent client, runner, sweeper.

``serve`` and ``runserver`` start, drain and stop it, servers with lifespan (uvicorn) do so by that; elsewhere the first
connection starts it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, cast
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer

from relay.access.connection_limits import ConnectionLimiter
from relay.agent.choice import make_agent
from relay.agent.handlers import with_handlers
from relay.conf import conf
from relay.layers.base import SessionLayer
from relay.layers.values import Accepted, NewTurn
from relay.observability import metrics
from relay.observability.loop_lag import LoopLagMonitor
from relay.policies import make_policy
from relay.process.control import Control
from relay.process.drain import Connection, Drain
from relay.process.heartbeats import Heartbeats
from relay.process.readiness import Readiness
from relay.signals import message_accepted
from relay.tasks import Unfinished, within
from relay.transcripts.history import History
from relay.transcripts.pruner import Pruner
from relay.transcripts.writer import FLUSH_SECONDS, Transcripts
from relay.turns import recorder
from relay.turns.accepted import describe_message
from relay.turns.on_disconnect import DisconnectPolicy
from relay.turns.runner import Runner
from relay.turns.sweeper import Sweeper
from relay.turns.tracing_choice import make_tracing
from relay.webhooks.sender import FLUSH_SECONDS as WEBHOOKS_SECONDS
from relay.webhooks.sender import Webhooks

logger = logging.getLogger(__name__)

DRAIN_END_SECONDS: Final = 15.0  # for a drain to end when its time is up: more than all its limits together


class Gateway:
    """The parts that live as long as an event loop."""

    def __init__(self) -> None:
        self.layer = session_layer()
        self.policy = make_policy(conf.ws_auth, self.layer.limits)
        self.agent = with_handlers(make_agent(conf.agent_protocol), conf.message_handlers)
        self.transcripts = Transcripts()
        self.tracing = make_tracing()
        self.webhooks = Webhooks(self.layer.outbox, survives_process=self.layer.survives_process)
        self.history = History(self.layer, self.transcripts)
        self.runner = Runner(self.layer, self.agent, self.transcripts, self.history, self.tracing, self.webhooks)
        self.pruner = Pruner(self.transcripts, self.layer.limits)
        self.sweeper = Sweeper(self.layer, self.runner)
        self.on_disconnect = DisconnectPolicy(self.layer)
        self.loop_lag_monitor = LoopLagMonitor()
        self.readiness = Readiness(self.layer, self.agent)
        self.connections: set[Connection] = set()
        self.connection_limiter = ConnectionLimiter()
        self.heartbeats = Heartbeats(self.layer)
        self.control = Control(self.layer, self.connections, self.transcripts, self.runner.wake)
        self.is_draining = False

    async def start(self) -> None:
        """Connect the layer and start to sweep."""
        await self.layer.start()
        self.transcripts.start()
        self.webhooks.start()
        self.control.start()
        self.sweeper.start()
        self.pruner.start()
        self.loop_lag_monitor.start()
        metrics.BUILD.info({"version": conf.version, "layer": type(self.layer).__name__})
        metrics.DRAINING.set(0)
        logger.info(
            "gateway %s with %s: log %d frames, %d characters, %g s; message %d bytes; queue %d; turns %d; drain %g s",
            conf.version,
            type(self.layer).__name__,
            conf.buffer_frames,
            conf.buffer_bytes,
            conf.buffer_ttl_seconds,
            conf.max_message_bytes,
            conf.max_queue,
            conf.max_concurrent_turns,
            conf.drain_seconds,
        )

    async def accept(self, session_id: str, turn: NewTurn) -> Accepted:
        """Store a message in a session's queue, and let its turn be run.

        Raises:
            RelayError: the session layer refuses it, or cannot be reached.
        """
        accepted = await self.layer.enqueue(session_id, turn)
        recorder.message_accepted(session_id, accepted)
        if not accepted.duplicate and self.runner.signals.has_receivers(message_accepted):
            self.runner.signals.send(describe_message(session_id, turn, accepted.turn_id))
        self.runner.wake(session_id)
        return accepted

    async def drain(self, deadline: asyncio.Event) -> None:
        """Take nothing new, let turns finish, disconnect clients; ``deadline`` is set when there is no more time."""
        self.is_draining = True
        metrics.DRAINING.set(1)
        await self.sweeper.stop()
        await Drain(self.layer, self.runner, self.connections).run(conf.drain_seconds, deadline)
        await asyncio.gather(self.transcripts.flush(FLUSH_SECONDS), self.webhooks.flush(WEBHOOKS_SECONDS))

    async def stop(self) -> None:
        """End the running turns, then close everything."""
        await self.readiness.stop()
        await self.loop_lag_monitor.stop()
        await self.pruner.stop()
        await self.sweeper.stop()
        await self.on_disconnect.stop()
        await self.control.stop()
        await self.heartbeats.stop()
        await self.runner.stop()
        await asyncio.gather(self.transcripts.stop(), self.webhooks.stop())
        await self.tracing.stop()
        await self.policy.close()
        await self.layer.close()


_gateways: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Gateway]] = WeakKeyDictionary()


def session_layer() -> SessionLayer:
    """Return the channel layer that ``LAYER`` names; a system check has made sure that it keeps sessions."""
    return cast(SessionLayer, get_channel_layer(conf.layer))


async def current() -> Gateway:
    """Return the running loop's gateway, started if need be."""
    loop = asyncio.get_running_loop()
    starting = _gateways.get(loop)
    if starting is None or (starting.done() and starting.exception() is not None):
        starting = _gateways[loop] = asyncio.create_task(_started(), name="start the gateway")
    if starting.done():
        return starting.result()
    return await asyncio.shield(starting)


async def drain(deadline: asyncio.Event | None = None) -> None:
    """Drain the running loop's gateway, if it was started; ``deadline`` may be set to make it end.

    A drain that does not end, because a part of it stands still, is left behind: the process ends without it.
    """
    starting = _gateways.get(asyncio.get_running_loop())
    if starting is not None:
        draining = (await starting).drain(deadline or asyncio.Event())
        try:
            await within(conf.drain_seconds + DRAIN_END_SECONDS, draining)
        except Unfinished as exc:
            logger.error("drain given up: %s", exc)


async def stop() -> None:
    """Stop the running loop's gateway, if it was started."""
    starting = _gateways.pop(asyncio.get_running_loop(), None)
    if starting is not None:
        await (await starting).stop()


async def _started() -> Gateway:
    gateway = Gateway()
    await gateway.start()
    return gateway
