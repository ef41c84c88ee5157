"""Django middleware: names for the log, ``X-Internal-Auth`` before everything, and the Host check where it belongs."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponseBase
from django.middleware import common
from django.urls import get_script_prefix
from django.utils.decorators import async_only_middleware

from relay.access.auth import has_internal_key, may_scrape
from relay.access.rules import unauthorized, wrong_host
from relay.adapters.paths import is_adapter_path
from relay.conf import conf
from relay.observability import logging_config
from relay.policies import COOKIE_POLICY
from relay.protocol.page_policy import HEADER, policy_text
from relay.protocol.request_headers import REQUEST_ID, TRACEPARENT
from relay.web.agent_pass import methods_of
from relay.web.login import LOGIN_PATHS

__all__ = ["internal_auth", "request_context"]

logger = logging.getLogger(__name__)

# A probe knows neither a key nor the right Host.
PROBES: Final = frozenset({"/health", "/ready"})
METRICS: Final = "/metrics"
ANY_HOST: Final = PROBES | {METRICS}  # Prometheus goes to addresses, which change
PAGES: Final = frozenset({"/", "/api/v1/frame"})  # the chat page, whole and in a frame
API_DOCS: Final = frozenset({"/api/v1/docs", "/api/v1/openapi.json"})  # a browser cannot send the key

FOR_CLIENTS: Final = (
    ("GET", re.compile(r"/api/v1/sessions/[^/]+/(events|pending|turns)")),
    ("POST", re.compile(r"/api/v1/sessions/[^/]+/(messages|cancel)")),
    ("GET", re.compile(r"/api/v1/me/sessions")),
    ("POST", re.compile(r"/api/v1/sessions")),
    ("PATCH", re.compile(r"/api/v1/sessions/[^/]+")),
    ("DELETE", re.compile(r"/api/v1/sessions/[^/]+")),
)

Respond = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


@async_only_middleware
def request_context(get_response: Respond) -> Respond:
    """Name the request in its log lines, and tell the client that name: ``X-Request-ID``."""

    async def respond(request: HttpRequest) -> HttpResponseBase:
        name = logging_config.bind_request(request.headers.get(REQUEST_ID), request.headers.get(TRACEPARENT))
        response = await get_response(request)
        response[REQUEST_ID] = name
        return response

    return respond


@async_only_middleware
def internal_auth(get_response: Respond) -> Respond:
    """Answer 401 to every request without the right key, but for the probes and the pages that are switched on."""

    async def respond(request: HttpRequest) -> HttpResponseBase:
        if _may_pass(request):
            return await get_response(request)
        if request.path_info == "/":
            _tell_of_the_page()
        return unauthorized()

    return respond


@async_only_middleware
def content_security_policy(get_response: Respond) -> Respond:
    """Tell browsers what the gateway's pages may load: ``SECURE_CSP``, as in Django 6, which has this built in."""
    policy = policy_text(settings.SECURE_CSP)

    async def respond(request: HttpRequest) -> HttpResponseBase:
        response = await get_response(request)
        response.headers.setdefault(HEADER, policy)
        return response

    return respond


class CommonMiddleware(common.CommonMiddleware):
    """Django's own, which checks the Host, except on paths requested by address, not name."""

    def process_request(self, request: HttpRequest) -> HttpResponseBase | None:  # type: ignore[override]  # wider
        if request.path_info in ANY_HOST:
            return None
        try:
            return super().process_request(request)
        except DisallowedHost:  # Django would log a traceback for each
            return wrong_host()


def is_open(path: str) -> bool:
    """Is this path open to every client: a probe, or a page that is switched on, or its files?"""
    if path in PROBES:
        return True
    has_chat_page, has_admin = conf.chat_page or settings.DEBUG, conf.admin or settings.DEBUG
    return (
        (has_chat_page and path in PAGES)
        or (has_chat_page and conf.ws_auth == COOKIE_POLICY and path in LOGIN_PATHS)
        or (settings.DEBUG and path in API_DOCS)
        or (has_admin and (path == "/admin" or path.startswith("/admin/")))
        or ((has_chat_page or has_admin) and path.startswith(_static_path()))
    )


def _static_path() -> str:
    """Return the path of static files below the root path, which is a part of Django's setting."""
    return f"/{settings.STATIC_URL.removeprefix(get_script_prefix())}"


def is_for_policy(request: HttpRequest) -> bool:
    """Is it for front ends: an operation of ours, another protocol, a path of the agent? Their views ask the policy."""
    path = request.path_info
    is_own = any(request.method == method and pattern.fullmatch(path) for method, pattern in FOR_CLIENTS)
    return is_own or is_adapter_path(path) or bool(methods_of(path))


@functools.cache  # once is enough
def _tell_of_the_page() -> None:
    logger.info("chat page requested, but off: GATEWAY__CHAT_PAGE=true opens it at /")


def _may_pass(request: HttpRequest) -> bool:
    if request.path_info == METRICS:
        return may_scrape(request)
    return is_open(request.path_info) or is_for_policy(request) or has_internal_key(request)
