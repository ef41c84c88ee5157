"""AG-UI over HTTP: a ``GET`` gives the messages of a thread, as TanStack AI's ``hydrate`` asks; or else a run."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from relay.access.auth import limited_network, redeem, shows_internal_key
from relay.access.rate_limits import take_reading
from relay.adapters.ag_ui import interrupt_of
from relay.adapters.ag_ui_messages import messages_of, unfinished_answer, user_message
from relay.adapters.ag_ui_runs import Run, name_run
from relay.adapters.ag_ui_views import ADAPTER, refuse, replay
from relay.adapters.base import session_id_of
from relay.adapters.entrance import admitted, endpoint, scope_of
from relay.conf import conf
from relay.delivery.pending import pending_fields
from relay.delivery.timeouts import within_store_timeout
from relay.exceptions import ParameterInvalid
from relay.layers.base import SessionLayer
from relay.layers.values import SessionState, agent_message, message_text
from relay.process import lifecycle
from relay.process.lifecycle import Gateway
from relay.protocol import json_text
from relay.protocol.answers import DECISION
from relay.protocol.client_messages import is_turn_cursor
from relay.protocol.cursor import Cursor
from relay.protocol.frames import FrameKind, ReplayGap
from relay.transcripts.kept_turn import Reader

MAX_TURNS: Final = 100  # of a page
THREAD: Final = "threadId"


@endpoint(ADAPTER, "GET", refuse)
async def read(request: HttpRequest) -> HttpResponseBase:
    """Return the messages of ``threadId``, otherwise the run ``runId``."""
    return await (_read_thread(request) if THREAD in request.GET else replay(request))


async def _read_thread(request: HttpRequest) -> HttpResponse:
    session_id = session_id_of(request.GET[THREAD], THREAD)
    before, max_turns = _cursor(request.GET.get("before", "")), _max_turns(request.GET.get("limit", ""))
    handshake, identity = await admitted(scope_of(request), session_id)
    reader = Reader(identity.subject, is_service=shows_internal_key(handshake.headers))
    gateway = await lifecycle.current()
    await within_store_timeout(take_reading(gateway.layer.limits, session_id, limited_network(handshake)))
    fields = await within_store_timeout(_thread(gateway, session_id, reader, before, max_turns))
    await within_store_timeout(redeem(handshake, gateway.policy, ""))
    return HttpResponse(
        json_text.encode(fields), content_type="application/json", headers={"Cache-Control": "no-store"}
    )


def _cursor(before: str) -> str:
    if not is_turn_cursor(before):
        raise ParameterInvalid("before must be a page's cursor.")
    return before


def _max_turns(limit: str) -> int:
    """Return how many turns a page may have; ``limit`` counts messages, of which a turn has two."""
    if not limit:
        return MAX_TURNS
    if not (limit.isascii() and limit.isdigit() and 0 < len(limit) < 10) or int(limit) < 1:
        raise ParameterInvalid("limit must be a number from 1.")
    return min(max(int(limit) // 2, 1), MAX_TURNS)


async def _thread(gateway: Gateway, session_id: str, reader: Reader, before: str, max_turns: int) -> dict[str, Any]:
    """Read a page of a thread (any JSON); the turn in flight and open questions belong to the newest."""
    state = None if before else await gateway.layer.get(session_id, reader.subject)
    active = None if state is None else await _active_run(gateway.layer, state, reader.subject)  # may end meanwhile
    page = await gateway.history.page(session_id, reader, before, max_turns)
    messages = messages_of(turn.fields() for turn in reversed(page.turns))
    if active is not None and all(turn.turn_id != active.turn_id for turn in page.turns):
        messages.append(active.message)
    return {
        "messages": messages,
        "activeRun": None if active is None else {"runId": active.run_id},
        "interrupts": await _interrupts(gateway.layer, state, messages)
        if state is not None and active is None
        else None,
        "page": {"truncated": False} if page.next is None else {"truncated": True, "cursor": page.next},
    }


class _ActiveRun(NamedTuple):
    """The turn in flight; ``message`` (any JSON) shows that it is."""

    turn_id: str
    run_id: str
    message: dict[str, Any]


async def _active_run(layer: SessionLayer, state: SessionState, subject: str | None) -> _ActiveRun | None:
    if (turn_id := state.active_turn_id) is None:
        return None
    message: dict[str, Any] = {}
    try:
        for frame in await layer.read(state.session_id, Cursor(state.epoch, state.active_after), 1, subject):
            if frame.kind is FrameKind.USER_MESSAGE and frame.turn_id == turn_id:
                message = agent_message(frame.body)
    except ReplayGap:  # the message is trimmed
        pass
    run_id = await name_run(layer.limits, Run(turn_id, state.session_id), message.get("run_id"))
    if run_id is None:
        return None
    shown = user_message(turn_id, message_text(message)) if message else unfinished_answer(turn_id)
    return _ActiveRun(turn_id, run_id, shown)


async def _interrupts(
    layer: SessionLayer, state: SessionState, messages: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """Return the questions of the newest turn that has asked (any JSON), if the client's answer can be passed on."""
    if not state.questions or DECISION not in conf.forward_types:
        return None
    turn_id = state.questions[-1].turn_id
    calls = {part["id"] for message in messages for part in message["parts"] if part["type"] == "tool-call"}
    pending = [
        {"expiresAt": fields["expires_at"], **interrupt_of(json_text.decode(question.body), calls)}
        for question, fields in zip(state.questions, pending_fields(state), strict=True)
        if question.turn_id == turn_id
    ]
    run_id = await name_run(layer.limits, Run(turn_id, state.session_id), None)
    return None if run_id is None else {"runId": run_id, "pending": pending}
