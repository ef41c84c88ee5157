"""Plain HTTP: health and the chat page. (Whether they may be seen is the middleware's business.)"""

from __future__ import annotations

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt

from relay import lifecycle
from relay.conf import conf

_READING = frozenset({"GET", "HEAD"})


@csrf_exempt
async def health(request: HttpRequest) -> HttpResponse:
    """Say that the process answers."""
    if request.method not in _READING:
        return method_not_allowed()
    return JsonResponse({"status": "healthy", "service": "gateway", "version": conf.version})


@csrf_exempt
async def ready(request: HttpRequest) -> HttpResponse:
    """Say whether new clients may be sent here: not to a process that is about to end."""
    if request.method not in _READING:
        return method_not_allowed()
    gateway = await lifecycle.current()
    if gateway.is_draining:
        return JsonResponse({"status": "draining"}, status=503)
    return JsonResponse({"status": "ready"})


async def chat_page(request: HttpRequest) -> HttpResponse:
    """Show the page to talk to the agent, where it is switched on."""
    if not (settings.DEBUG or conf.chat_page):
        raise Http404
    if request.method not in _READING:
        return method_not_allowed()
    return render(request, "relay/chat.html")


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
