"""Checks of settings that must not reach production by accident: ``manage.py check --deploy``.

Each has an id, by which an operator can silence it: ``GATEWAY__SILENCED_CHECKS=relay.E014``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from relay.conf import PREFIX, Conf, conf

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
            hint="Set one of your own, for example from: openssl rand -hex 32",
            id=DEFAULT_KEY,
        )
    if settings.DEBUG:
        yield Error(
            f"{PREFIX}DEBUG is on: pages are open, any origin may come, and errors show details.",
            hint=f"Leave {PREFIX}DEBUG unset.",
            id=DEBUG_ON,
        )
    if not settings.ALLOWED_HOSTS or "*" in settings.ALLOWED_HOSTS:
        yield Error(
            f"{PREFIX}ALLOWED_HOSTS accepts any Host header, so a page of any name that points here counts as our own.",
            hint="List the names under which clients reach the gateway.",
            id=ANY_HOST,
        )
    if not conf.secret_key:
        yield Error(
            f"{PREFIX}SECRET_KEY is empty: made again by each process, so logins and tickets are lost with it.",
            hint="Set 50 random characters, the same for all processes.",
            id=NO_SECRET_KEY,
        )
    if conf.ws_auth == "open":
        yield Error(
            f"{PREFIX}WS_AUTH=open: any client that knows a session's id reads it and spends your model's money.",
            hint="Choose ticket, session or jwt (docs/access.md), or keep the gateway behind something that does.",
            id=OPEN_TO_ALL,
        )


def _plain_cookies() -> Iterator[CheckMessage]:
    if not conf.https:
        yield Warning(
            f"{PREFIX}HTTPS is off: cookies go over plain HTTP too, and browsers are not told to use TLS.",
            hint=f"Set {PREFIX}HTTPS=true where clients come over TLS.",
            id=NO_HTTPS,
        )


def _strange_tokens() -> Iterator[CheckMessage]:
    if conf.ws_auth != "jwt":
        return
    for setting, value in ((Conf.jwt_audience, conf.jwt_audience), (Conf.jwt_issuer, conf.jwt_issuer)):
        if not value:
            yield Warning(
                f"{PREFIX}{setting.name} is empty: a token that those keys signed for something else opens sessions.",
                hint="Set what your identity provider writes into the tokens that are meant for the gateway.",
                id=ANY_TOKEN,
            )
