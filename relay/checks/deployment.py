"""Checks of settings that must not reach production by accident: ``manage.py check --deploy``.

Each has an id, by which an operator can silence it: ``GATEWAY__SILENCED_CHECKS=relay.E014``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from relay.conf import PREFIX, Conf, conf, is_own_project, named
from relay.policies import COOKIE_POLICY

DEFAULT_KEY = "relay.E010"
DEBUG_ON = "relay.E011"
ANY_HOST = "relay.E012"
NO_SECRET_KEY = "relay.E013"
OPEN_TO_ALL = "relay.E014"
NO_HTTPS = "relay.W010"
ANY_TOKEN = "relay.W011"


@register(Tags.security, deploy=True)
def check_deployment(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Name the settings that open the gateway to strangers. (``kwargs`` are Django's.)"""
    if any(True for _ in conf.problems()):
        return []
    return [*_open_doors(), *_plain_cookies(), *_strange_tokens()]


def _open_doors() -> Iterator[CheckMessage]:
    if Conf.internal_api_keys.default in conf.internal_api_keys:
        yield Error(
            f"{PREFIX}INTERNAL_API_KEY is still the default.",
            hint="Set your own key, for example from: openssl rand -hex 32",
            id=DEFAULT_KEY,
        )
    if settings.DEBUG:
        name = named("DEBUG")
        yield Error(
            f"{name} is on: pages are open, any origin is allowed, and errors show details.",
            hint=f"Leave {name} unset.",
            id=DEBUG_ON,
        )
    if not settings.ALLOWED_HOSTS or "*" in settings.ALLOWED_HOSTS:
        yield Error(
            f"{named('ALLOWED_HOSTS')} accepts any Host header,"
            " so pages of any domain that points here count as the gateway's own.",
            hint="List the host names that clients use for the gateway.",
            id=ANY_HOST,
        )
    if is_own_project() and not conf.secret_key:  # in another one Django's own check looks at the key
        yield Error(
            f"{PREFIX}SECRET_KEY is empty: each process generates its own, so logins and tickets end with the process.",
            hint="Set 50 random characters, the same for all processes.",
            id=NO_SECRET_KEY,
        )
    if conf.ws_auth == "open":
        yield Error(
            f"{PREFIX}WS_AUTH=open: any client that knows a session's id can read it and use your agent.",
            hint="Choose ticket, session or jwt (docs/access.md), or put a proxy that controls access in front.",
            id=OPEN_TO_ALL,
        )


def _plain_cookies() -> Iterator[CheckMessage]:
    if settings.SESSION_COOKIE_SECURE and settings.CSRF_COOKIE_SECURE:
        return
    if is_own_project():
        yield Warning(
            f"{PREFIX}HTTPS is off: cookies are also sent over plain HTTP, and browsers are not told to use TLS.",
            hint=f"Set {PREFIX}HTTPS=true if clients connect over TLS.",
            id=NO_HTTPS,
        )
    elif conf.ws_auth == COOKIE_POLICY:
        yield Warning(
            "The cookies that open sessions are also sent over plain HTTP.",
            hint="Set SESSION_COOKIE_SECURE and CSRF_COOKIE_SECURE if clients connect over TLS.",
            id=NO_HTTPS,
        )


def _strange_tokens() -> Iterator[CheckMessage]:
    if conf.ws_auth != "jwt":
        return
    for setting, value in ((Conf.jwt_audience, conf.jwt_audience), (Conf.jwt_issuer, conf.jwt_issuer)):
        if not value:
            yield Warning(
                f"{PREFIX}{setting.name} is empty: tokens that these keys signed for other applications open sessions.",
                hint="Set it to the value in the tokens that your identity provider issues for the gateway.",
                id=ANY_TOKEN,
            )
