"""The agent's own paths, passed on to clients that the access policy admits: ``GATEWAY__AGENT_PASS``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from time import monotonic, time
from typing import Final

import httpx
from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.request import UnreadablePostError
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from relay.access.auth import limited_network, redeem
from relay.access.rules import Rule, open_to, unauthorized
from relay.adapters.entrance import admitted, scope_of
from relay.agent.passing import PathRequest, Unpassable, body_of, check_answer, passed_headers
from relay.agent.transport import Exchange
from relay.conf import conf
from relay.delivery.http_stream import StreamBroken, forbid_compression, release_thread
from relay.delivery.session_connection import record_refusal
from relay.delivery.timeouts import within_store_timeout
from relay.exceptions import ClientMessageInvalid, ClientMessageTooLarge, RelayError, Unauthorized
from relay.policies import Handshake, Identity
from relay.process import lifecycle
from relay.process.lifecycle import Gateway
from relay.protocol.agent_paths import is_valid_path, query_without_credential
from relay.protocol.client_messages import is_session_id
from relay.web import views
from relay.web.json_io import refusal

SESSION: Final = "session_id"  # the parameter that names the session whose access counts
# Where the agent says nothing of caches: the answer may be its subject's alone, and a cookie does not tell a cache so.
CACHE_CONTROL: Final = "private, no-cache"
_EXPRESS: Final = frozenset({"public", "s-maxage", "private", "no-store"})
# Of whatever the agent sends nothing acts in the name of the gateway's own pages.
POLICY: Final = "default-src 'none'; sandbox"

logger = logging.getLogger(__name__)


class AgentPathConverter:
    """Matches a path that ``GATEWAY__AGENT_PASS`` names; any other text is not found."""

    regex = ".+"

    def to_python(self, value: str) -> str:
        path = f"/{value}"
        if not methods_of(path):
            raise ValueError(value)
        return path

    def to_url(self, value: str) -> str:  # pragma: no cover - Django requires it; no code reverses these paths
        return value[1:]


def methods_of(path: str) -> frozenset[str]:
    """Return the methods with which a path of the agent is passed; none if it is not passed."""
    if not is_valid_path(path):
        return frozenset()
    return frozenset().union(*(named.methods for named in conf.agent_pass if named.covers(path)))


@csrf_exempt  # the Origin is checked, as for sockets
@open_to(Rule.POLICY)
async def pass_on(request: HttpRequest, path: str) -> HttpResponseBase:
    """Send a request for one of the agent's own paths to the agent, and its answer to the client."""
    if b"%" in scope_of(request).get("raw_path", b""):
        raise Http404  # an escaped slash or dot means one thing here and perhaps another to the agent
    methods = methods_of(path)
    if request.method not in methods:
        return views.method_not_allowed(", ".join(sorted(methods)))
    session_id = request.GET.get(SESSION, "")
    try:
        handshake, identity = await admitted(scope_of(request), session_id if is_session_id(session_id) else "")
    except RelayError as exc:
        record_refusal(exc)
        return unauthorized() if isinstance(exc, Unauthorized) else refusal(exc)
    return await _counted(request, path, handshake, identity)


async def _counted(request: HttpRequest, path: str, handshake: Handshake, identity: Identity) -> HttpResponseBase:
    """Answer a request that counts as one of its client's connections, until its body has ended."""
    gateway, network = await lifecycle.current(), limited_network(handshake)
    try:
        gateway.connection_limiter.acquire(network)
    except RelayError as exc:
        return refusal(exc)
    try:
        await within_store_timeout(redeem(handshake, gateway.policy, ""))
        response = await _answer(request, path, gateway, identity)
    except RelayError as exc:
        response = unauthorized() if isinstance(exc, Unauthorized) else refusal(exc)
    except BaseException:
        gateway.connection_limiter.release(network)
        raise
    if isinstance(response, _Passed):
        response.count(gateway, network)
    else:
        gateway.connection_limiter.release(network)
    return response


async def _answer(request: HttpRequest, path: str, gateway: Gateway, identity: Identity) -> HttpResponseBase:
    try:
        asked = PathRequest(
            method=request.method or "",
            target=_target(path, request.META.get("QUERY_STRING", "")),
            headers=list(request.headers.items()),
            body=_body(request),
            subject=identity.subject,
        )
        async with asyncio.timeout(conf.request_timeout_seconds):
            exchange = await gateway.agent.open_path(asked)
    except (httpx.HTTPError, TimeoutError) as exc:
        return _bad_gateway(type(exc).__name__)
    if exchange is None:
        raise Http404  # a function has no paths
    try:
        check_answer(exchange)
    except Unpassable as exc:
        exchange.close()
        return _bad_gateway(str(exc))
    forbid_compression(request)
    return _passed(exchange, identity, is_head=request.method == "HEAD")


def _passed(exchange: Exchange, identity: Identity, *, is_head: bool) -> HttpResponseBase:
    passed = passed_headers(exchange.headers)
    headers = {**passed, "X-Content-Type-Options": "nosniff"}
    headers["cache-control"] = _cache_control(passed.get("cache-control", ""))
    headers["Content-Security-Policy"] = POLICY
    if is_head or exchange.status_code in (204, 304):
        exchange.close()
        response: HttpResponseBase = HttpResponse(status=exchange.status_code)
    else:
        seconds = conf.turn_timeout_seconds
        if identity.expires_at is not None:
            seconds = min(seconds, identity.expires_at - time())
        response = _Passed(exchange, monotonic() + seconds)
    del response["Content-Type"]
    for name, value in headers.items():
        response[name] = value
    return response


def _cache_control(said: str) -> str:
    """Return what caches may do with an answer for which the agent said this.

    A shared cache asks neither for the key nor the access policy. So only an agent that says so expressly lets it keep
    what was for an admitted client, as it is for a request with ``Authorization`` (RFC 9111, section 3.5).
    """
    if not said:
        return CACHE_CONTROL
    names = {directive.partition("=")[0].strip().lower() for directive in said.split(",")}
    return said if names & _EXPRESS else f"{said}, private"


class _Passed(StreamingHttpResponse):
    """The agent's answer: a ``Connection`` of no session, so that a drain does not wait for an endless body."""

    session_id = ""

    def __init__(self, exchange: Exchange, until: float) -> None:
        self._exchange = exchange
        self._chunks = body_of(exchange, until=until)
        self._loop = asyncio.get_running_loop()
        self._is_cut = False
        self._release: Callable[[], None] | None = None
        super().__init__(self._chunks, status=exchange.status_code)

    def count(self, gateway: Gateway, network: str) -> None:
        """Count it among the connections until its body has ended, or its client has left."""

        def release() -> None:
            gateway.connections.discard(self)
            gateway.connection_limiter.release(network)

        gateway.connections.add(self)
        self._release = release

    async def __aiter__(self) -> AsyncIterator[bytes]:
        release_thread()
        try:
            async with aclosing(self._chunks):
                async for chunk in self._chunks:
                    yield chunk
        except Unpassable as exc:
            if not self._is_cut:
                logger.warning("agent path cut off: %s", exc)
            raise StreamBroken from exc
        finally:
            self._end()
        if self._is_cut:
            raise StreamBroken

    def close(self) -> None:
        """See Django's ``HttpResponseBase``: called in every case, and in another thread."""
        super().close()
        self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._exchange.close()
        release, self._release = self._release, None
        if release is not None:
            release()

    # ``Connection``.

    def has_seen(self, offset: int) -> bool:
        """See ``Connection``: there is no log."""
        return True

    async def disconnect(self, reason: RelayError | None = None) -> None:
        """See ``Connection``."""
        self._is_cut = True
        self._exchange.close()

    async def notify(self, text: str) -> None:
        """See ``Connection``: the body is the agent's alone."""


def _target(path: str, query: str) -> str:
    query = query_without_credential(query)
    return f"{path}?{query}" if query else path


def _body(request: HttpRequest) -> bytes:
    try:
        body = request.body
    except RequestDataTooBig as exc:
        raise ClientMessageTooLarge(conf.max_message_bytes) from exc
    except (UnreadablePostError, ValueError) as exc:
        raise ClientMessageInvalid from exc
    if len(body) > conf.max_message_bytes:
        raise ClientMessageTooLarge(conf.max_message_bytes)
    return body


def _bad_gateway(cause: str) -> JsonResponse:
    logger.warning("agent path not passed: %s", cause)
    return JsonResponse({"detail": "the agent could not answer"}, status=502)
