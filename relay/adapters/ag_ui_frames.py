"""AG-UI's frames over WebSocket, as TanStack AI sends and reads them. Pure.

Sources: ``webSocket`` in the npm package ``@tanstack/ai-client``, ``toWebSocketStream`` in ``@tanstack/ai``. An event
with a place in the log is in an envelope with its id; one without, such as a refusal, is bare.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from relay.adapters.ag_ui import EventId
from relay.adapters.client_frame import CREDENTIAL, MAX_NAME_BYTES, ClientFrame, credential_in, small_member
from relay.exceptions import ParameterInvalid, RelayError
from relay.protocol import json_text

PING: Final = '{"type":"ping"}'
_PASSED_ON: Final = ("forwardedProps", "data")  # the client sends the same members under either name


def read_frame(members: Mapping[str, bytes]) -> ClientFrame:
    """Read the members of a frame, ``RunAgentInput`` or ``abort``, as far as an answer needs them to name its run.

    Raises:
        ParameterInvalid, ClientMessageInvalid: no answer can name the run.
    """
    if len(members.get("runId", b"")) > MAX_NAME_BYTES:
        raise ParameterInvalid(f"runId must have at most {MAX_NAME_BYTES} bytes.")
    run_id = small_member(members, "runId")
    if not isinstance(run_id, str) or not run_id:
        raise ParameterInvalid("runId is missing.")
    return ClientFrame(small_member(members, "type"), run_id, members)


def run_input(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a ``RunAgentInput`` (any JSON) without its credential, which is not the agent's."""
    passed_on: dict[str, Any] = {name: _without_credential(fields[name]) for name in _PASSED_ON if name in fields}
    return fields | passed_on


def credential_of(fields: dict[str, Any]) -> str | None:
    """Return the ticket or token of a run: ``forwardedProps.ticket``; ``None`` without one.

    Raises:
        ParameterInvalid: it is not text.
    """
    props = fields.get("forwardedProps")
    return credential_in(props, "forwardedProps") if isinstance(props, dict) else None


def encode_event(event_id: EventId, event: str) -> str:
    """Write an event of a run."""
    return f'{{"id":"{event_id}","chunk":{event}}}'


def encode_error(run_id: str | None, reason: RelayError) -> str:
    """Write the end of a run that has failed, or of a frame that names none."""
    names = {} if run_id is None else {"runId": run_id}
    return json_text.encode({"type": "RUN_ERROR", **names, "message": str(reason), "code": reason.code})


def _without_credential(props: Any) -> Any:
    if not isinstance(props, dict):
        return props
    return {name: value for name, value in props.items() if name != CREDENTIAL}
