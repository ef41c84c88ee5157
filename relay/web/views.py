"""Plain HTTP: health, readiness, metrics and the chat page.

Each view has its access rule, because another project may leave the gateway's middleware out.
"""

from __future__ import annotations

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import render, resolve_url
from django.urls import NoReverseMatch, get_script_prefix, is_valid_path, reverse
from django.views.decorators.csrf import csrf_exempt

from relay.access.rules import Rule, open_to
from relay.conf import conf
from relay.policies import COOKIE_POLICY
from relay.process import lifecycle
from relay.process.readiness import Check
from relay.process.scrape import scrape
from relay.protocol.page_policy import HEADER as CSP
from relay.protocol.page_policy import chat_policy

_READING = frozenset({"GET", "HEAD"})


@csrf_exempt
@open_to(Rule.PROBE)
async def health(request: HttpRequest) -> HttpResponse:
    """Say that the process answers."""
    if request.method not in _READING:
        return method_not_allowed()
    return JsonResponse({"status": "healthy", "service": "gateway", "version": conf.version})


@csrf_exempt
@open_to(Rule.PROBE)
async def ready(request: HttpRequest) -> HttpResponse:
    """Say whether new clients may be sent here, check by check."""
    if request.method not in _READING:
        return method_not_allowed()
    gateway = await lifecycle.current()
    is_staying = not gateway.is_draining
    draining = Check(is_staying, "no" if is_staying else "The process is about to end.")
    checks = {**await gateway.readiness.checks(), "draining": draining}
    is_ready = all(check.ok for check in checks.values())
    status = "ready" if is_ready else "draining" if gateway.is_draining else "unready"
    shown = {name: msgspec.structs.asdict(check) for name, check in checks.items()}
    return JsonResponse({"status": status, "checks": shown}, status=200 if is_ready else 503)


@csrf_exempt
@open_to(Rule.SCRAPER)
async def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics of this process and its fellow workers, as Prometheus' text or, by ``Accept``, OpenMetrics."""
    if request.method not in _READING:
        return method_not_allowed()
    content, content_type = await scrape(request.headers.get("Accept", ""))
    return HttpResponse(content, content_type=content_type)


@open_to(Rule.PAGE)
async def chat_page(request: HttpRequest) -> HttpResponse:
    """Show the page to talk to the agent, where it is switched on."""
    return await _chat(request, is_framed=False)


@open_to(Rule.PAGE)
async def chat_frame(request: HttpRequest) -> HttpResponse:
    """Show one conversation in a frame of a page of the same origin: ``{% gateway_chat session_id %}``."""
    response = await _chat(request, is_framed=True)
    response["X-Frame-Options"] = "SAMEORIGIN"
    return response


async def _chat(request: HttpRequest, *, is_framed: bool) -> HttpResponse:
    if request.method not in _READING:
        return method_not_allowed()
    response = render(request, "relay/chat.html", {"is_framed": is_framed, **await _chat_context(request)})
    response[CSP] = chat_policy(settings.STATIC_URL, is_framed=is_framed)
    return response


async def _chat_context(request: HttpRequest) -> dict[str, str]:
    """Say where the gateway is, how a reader of the chat page comes in, and the name of the one that is logged in."""
    has_login = conf.ws_auth == COOKIE_POLICY
    user = await request.auser() if has_login and hasattr(request, "auser") else None
    return {
        "base": reverse("relay:chat").rstrip("/"),
        "page_path": request.path,
        "page_address": request.get_full_path(),
        "access": conf.ws_auth,
        "user_name": user.get_username() if user is not None and user.is_authenticated else "",
        "login_url": conf.chat_login_url or (resolve_url(settings.LOGIN_URL) if has_login else ""),
        "logout_url": _logout_url(),
        "credential_url": conf.chat_credential_url,
        "credential_csrf": _credential_csrf(request),
    }


def _credential_csrf(request: HttpRequest) -> str:
    """Return the token for the address of credentials, if a view of this project answers there.

    The token of another application is in its cookie, which the page reads: a cookie from here could replace it.
    """
    path = conf.chat_credential_url.partition("?")[0].removeprefix(get_script_prefix().rstrip("/"))
    return get_token(request) if path and is_valid_path(path) else ""


def _logout_url() -> str:
    """Return the path that Django's own URLs, and the gateway's, call ``logout``; empty: the project has none."""
    try:
        return reverse("logout")
    except NoReverseMatch:
        return ""


def method_not_allowed(allowed: str = "GET, HEAD") -> JsonResponse:
    """Answer 405."""
    return JsonResponse({"detail": "method not allowed"}, status=405, headers={"Allow": allowed})


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer 400, also to a wrong Host; the reason stays in the log."""
    return JsonResponse({"detail": "bad request"}, status=400)


def permission_denied(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer 403."""
    return JsonResponse({"detail": "forbidden"}, status=403)


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer 404."""
    return JsonResponse({"detail": "not found"}, status=404)


def server_error(request: HttpRequest) -> JsonResponse:
    """Answer 500; the reason stays in the log."""
    return JsonResponse({"detail": "internal error"}, status=500)
