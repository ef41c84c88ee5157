"""Django middleware: ``X-Internal-Auth`` before everything, and the Host check where it belongs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.middleware import common
from django.utils.decorators import sync_and_async_middleware

from relay.auth import has_internal_key
from relay.conf import conf

# A probe knows neither a key nor the right Host.
PROBES: Final = frozenset({"/health", "/ready"})
API_DOCS: Final = frozenset({"/api/v1/docs", "/api/v1/openapi.json"})  # a browser cannot show the key

Respond = Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]


@sync_and_async_middleware
def internal_auth(get_response: Respond) -> Respond:
    """Answer 401 to every request without the right key, but for the probes and the pages that are switched on."""

    async def respond_async(request: HttpRequest) -> HttpResponseBase:
        if not _may_pass(request):
            return _unauthorized()
        return await get_response(request)  # type: ignore[misc, no-any-return]  # the async one

    def respond(request: HttpRequest) -> HttpResponseBase:
        if not _may_pass(request):
            return _unauthorized()
        return get_response(request)  # type: ignore[return-value]  # the sync one

    return respond_async if iscoroutinefunction(get_response) else respond


class CommonMiddleware(common.CommonMiddleware):
    """Django's own, which checks the Host, but not of a probe."""

    def process_request(self, request: HttpRequest) -> HttpResponseBase | None:  # type: ignore[override]  # wider
        return None if request.path_info in PROBES else super().process_request(request)


def is_open(path: str) -> bool:
    """May anybody have this path: a probe, or a page that is switched on, or its files?"""
    if path in PROBES:
        return True
    has_chat_page, has_admin = conf.chat_page or settings.DEBUG, conf.admin or settings.DEBUG
    return (
        (has_chat_page and path == "/")
        or (settings.DEBUG and path in API_DOCS)
        or (has_admin and (path == "/admin" or path.startswith("/admin/")))
        or ((has_chat_page or has_admin) and path.startswith(settings.STATIC_URL))
    )


def _may_pass(request: HttpRequest) -> bool:
    return is_open(request.path_info) or has_internal_key(request)


def _unauthorized() -> JsonResponse:
    return JsonResponse({"detail": "unauthorized"}, status=401)
