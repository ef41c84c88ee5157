"""Plain HTTP: health, readiness, metrics and the chat page.

The views check the key themselves, because another project may leave the gateway's middleware out.
"""

from __future__ import annotations

import msgspec
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from relay.access.auth import may_scrape
from relay.conf import conf
from relay.policies import COOKIE_POLICY
from relay.process import lifecycle
from relay.process.readiness import Check
from relay.web.login import LOGIN_PATH, LOGOUT_PATH

_READING = frozenset({"GET", "HEAD"})


@csrf_exempt
async def health(request: HttpRequest) -> HttpResponse:
    """Say that the process answers."""
    if request.method not in _READING:
        return method_not_allowed()
    return JsonResponse({"status": "healthy", "service": "gateway", "version": conf.version})


@csrf_exempt
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
async def metrics(request: HttpRequest) -> HttpResponse:
    """Give this process' metrics, as Prometheus' text or, by ``Accept``, as OpenMetrics."""
    if not may_scrape(request):
        return unauthorized()
    if request.method not in _READING:
        return method_not_allowed()
    await (await lifecycle.current()).readiness.checks()  # so that they are fresh even if /ready is never requested
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(REGISTRY), content_type=content_type)


async def chat_page(request: HttpRequest) -> HttpResponse:
    """Show the page to talk to the agent, where it is switched on."""
    if not (settings.DEBUG or conf.chat_page):
        raise Http404
    if request.method not in _READING:
        return method_not_allowed()
    return render(request, "relay/chat.html", await _ways_in(request))


async def _ways_in(request: HttpRequest) -> dict[str, str]:
    """Say how a reader of the chat page comes in, and who it is that is logged in."""
    has_login = conf.ws_auth == COOKIE_POLICY
    user = await request.auser() if has_login and hasattr(request, "auser") else None
    return {
        "access": conf.ws_auth,
        "user_name": user.get_username() if user is not None and user.is_authenticated else "",
        "login_url": conf.chat_login_url or (LOGIN_PATH if has_login else ""),
        "logout_url": LOGOUT_PATH,
        "credential_url": conf.chat_credential_url,
    }


def method_not_allowed(allowed: str = "GET, HEAD") -> JsonResponse:
    """Answer 405."""
    return JsonResponse({"detail": "method not allowed"}, status=405, headers={"Allow": allowed})


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer 400, also to a wrong Host; the reason stays in the log."""
    return JsonResponse({"detail": "bad request"}, status=400)


def unauthorized() -> JsonResponse:
    """Answer 401: the key, or the policy's credential, is missing or wrong."""
    return JsonResponse({"detail": "unauthorized"}, status=401)


def permission_denied(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer 403."""
    return JsonResponse({"detail": "forbidden"}, status=403)


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer 404."""
    return JsonResponse({"detail": "not found"}, status=404)


def server_error(request: HttpRequest) -> JsonResponse:
    """Answer 500; the reason stays in the log."""
    return JsonResponse({"detail": "internal error"}, status=500)
