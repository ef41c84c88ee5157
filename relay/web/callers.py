"""The callers of REST that the access policy admits, and the sessions that are theirs."""

from __future__ import annotations

from functools import partial
from typing import Final

from django.http import HttpRequest

from relay.access.auth import redeem, shows_internal_key
from relay.adapters.entrance import admitted, scope_of
from relay.delivery.session_connection import record_refusal
from relay.delivery.timeouts import within_store_timeout
from relay.exceptions import Forbidden, RelayError
from relay.policies import Handshake
from relay.process import lifecycle
from relay.process.lifecycle import Gateway
from relay.transcripts import conversation_rows
from relay.transcripts.kept_turn import Reader

NO_SESSION: Final = ""  # of a request that concerns none: a ticket, which is for one session, does not admit to it


def by_policy(request: HttpRequest) -> bool:
    """Be the access rule (ninja's ``auth``) of an operation that asks the access policy itself, for its session."""
    return True


async def admitted_reader(request: HttpRequest, session_id: str) -> tuple[Handshake, Reader]:
    """Admit a client as to the session's log.

    Raises:
        Unauthorized, Forbidden, StoreUnavailable: the policy, or the page's Origin, refuses the client.
    """
    try:
        handshake, identity = await admitted(scope_of(request), session_id)
    except RelayError as exc:
        record_refusal(exc)
        raise
    return handshake, Reader(identity.subject, is_service=shows_internal_key(handshake.headers))


async def use_up(handshake: Handshake) -> None:
    """Use up the client's credential, if it is good once: nothing refuses the client after this.

    Raises:
        Unauthorized, StoreUnavailable: it was used meanwhile, or that cannot be told.
    """
    await within_store_timeout(redeem(handshake, (await lifecycle.current()).policy, ""))


async def check_owner(gateway: Gateway, session_id: str, reader: Reader) -> None:
    """Check that the session, live or kept, is not another subject's; an unowned kept one is no subject's to change.

    Raises:
        Forbidden, StoreUnavailable: it is, or that cannot be told.
    """
    if reader.is_service:
        return
    state = await gateway.layer.get(session_id, reader.subject)
    owner = await gateway.transcripts.ask(partial(conversation_rows.owner_of, session_id), None)
    is_own = owner == conversation_rows.subject_of(reader.subject)
    if owner is not None and not is_own and (owner or state is None):
        raise Forbidden
