"""The access rule of each view over HTTP, checked at the view: it holds in every project, whatever its middleware."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from functools import wraps
from typing import Any, Final

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import DisallowedHost, ImproperlyConfigured
from django.db import connections
from django.db.transaction import non_atomic_requests
from django.http import Http404, HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver

from relay.access.auth import has_internal_key, may_scrape
from relay.conf import conf

logger = logging.getLogger(__name__)

UrlView = Callable[..., Any]  # Django's types know no coroutine as a view
Check = Callable[[HttpRequest], HttpResponseBase | None]


def unauthorized() -> JsonResponse:
    """Answer 401: the key, or the policy's credential, is missing or wrong."""
    return JsonResponse({"detail": "unauthorized"}, status=401)


def wrong_host() -> JsonResponse:
    """Answer 400 to a Host that ``ALLOWED_HOSTS`` does not list; the reason stays in the log."""
    logger.info("request refused: Host not allowed")
    return JsonResponse({"detail": "bad request"}, status=400)


def _probe(request: HttpRequest) -> None:
    """Open to every client, under any Host: a probe knows neither a key nor the right Host."""


def _scraper(request: HttpRequest) -> HttpResponseBase | None:
    """Open with the key, or to all where ``METRICS_OPEN`` says so; under any Host, for Prometheus goes to addresses."""
    return None if may_scrape(request) else unauthorized()


def _page(request: HttpRequest) -> HttpResponseBase | None:
    """Open to every client where the chat page is switched on; elsewhere it does not exist."""
    if not (settings.DEBUG or conf.chat_page):
        raise Http404
    return _under_own_host(request)


def _description(request: HttpRequest) -> HttpResponseBase | None:
    """Open with the key and, because a browser cannot send it, with ``DEBUG``."""
    return _under_own_host(request) if settings.DEBUG else _key(request)


def _key(request: HttpRequest) -> HttpResponseBase | None:
    """Open with the internal key."""
    return _under_own_host(request) if has_internal_key(request) else unauthorized()


def _under_own_host(request: HttpRequest) -> HttpResponseBase | None:
    try:
        request.get_host()
    except DisallowedHost:
        return wrong_host()
    return None


class Rule(Enum):
    """The clients to which a view is open."""

    PROBE = "everyone"
    SCRAPER = "services, or everyone by METRICS_OPEN"
    PAGE = "everyone, where the chat page is switched on"
    DESCRIPTION = "services, or everyone with DEBUG"
    KEY = "services, by the internal key"
    POLICY = "clients of the access policy, which the view asks for their session"
    OPERATION = "by method: services, or clients of the access policy"

    def check(self, request: HttpRequest) -> HttpResponseBase | None:
        """Return the refusal of a request, if it is refused."""
        return _CHECKS[self](request)


_CHECKS: Final[dict[Rule, Check]] = {
    Rule.PROBE: _probe,
    Rule.SCRAPER: _scraper,
    Rule.PAGE: _page,
    Rule.DESCRIPTION: _description,
    Rule.KEY: _key,
    Rule.POLICY: _under_own_host,
    Rule.OPERATION: _under_own_host,
}


ATTRIBUTE: Final = "access_rule"


def open_to(rule: Rule) -> Callable[[UrlView], UrlView]:
    """Attach an access rule to a view; it is checked before the view is called."""

    def decorate(view: UrlView) -> UrlView:
        @wraps(view)
        async def respond(request: HttpRequest, **parameters: Any) -> HttpResponseBase:
            refusal = rule.check(request)
            return _uncached(rule, await view(request, **parameters) if refusal is None else refusal)

        @wraps(view)
        def respond_at_once(request: HttpRequest, **parameters: Any) -> HttpResponseBase:
            refusal = rule.check(request)
            return _uncached(rule, view(request, **parameters) if refusal is None else refusal)

        guarded = respond if iscoroutinefunction(view) else respond_at_once
        setattr(guarded, ATTRIBUTE, rule)
        return guarded

    return decorate


def _uncached(rule: Rule, response: HttpResponseBase) -> HttpResponseBase:
    """Keep a response out of caches: a cache answers instead of the view, and checks no rule."""
    if rule is not Rule.PAGE:
        response.headers.setdefault("Cache-Control", "no-store")
    return response


def rule_of(view: UrlView) -> Rule | None:
    """Return the access rule of a view; ``None`` if it has none."""
    rule: Rule | None = getattr(view, ATTRIBUTE, None)
    return rule


def with_rules(patterns: list[URLPattern | URLResolver]) -> list[URLPattern | URLResolver]:
    """Return paths of which each view has an access rule, runs outside a transaction, and needs no login.

    Django's ``ATOMIC_REQUESTS`` cannot wrap asynchronous views: it would answer 500 to them. Its
    ``LoginRequiredMiddleware`` would send services and other clients to a login page; it still protects the chat page.

    Raises:
        ImproperlyConfigured: a view has none.
    """
    for pattern in views_of(patterns):
        if rule_of(pattern.callback) is None:
            raise ImproperlyConfigured(f"the view at {str(pattern.pattern)!r} has no access rule: relay.access.rules")
        for alias in connections:
            non_atomic_requests(alias)(pattern.callback)
        if rule_of(pattern.callback) is not Rule.PAGE:
            login_not_required(pattern.callback)
    return patterns


def views_of(patterns: Iterable[URLPattern | URLResolver]) -> Iterator[URLPattern]:
    """Return each path to a view, those of included paths too."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from views_of(pattern.url_patterns)
        else:
            yield pattern
