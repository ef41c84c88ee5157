"""System checks: settings that would fail later stop the start, with the setting's name and a hint."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from channels.layers import get_channel_layer
from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning, register, run_checks
from django.db import DEFAULT_DB_ALIAS, connections

from relay.agent.choice import make_agent
from relay.agent.protocols import PROTOCOLS
from relay.agent.protocols.base import RESERVED_TYPES
from relay.conf import PREFIX, conf
from relay.database.connection import check_driver
from relay.layers.base import EXTENSION, SessionLayer
from relay.policies import policy_class
from relay.turns.tracing_choice import EXPORTERS, is_installed, wanted_exporter

logger = logging.getLogger(__name__)

WRONG_SETTING = "relay.E001"
NO_SESSION_LAYER = "relay.E002"
BUFFER_TOO_SMALL = "relay.E003"
RESERVED_TYPE = "relay.E004"
NO_POLICY = "relay.E005"
NO_JWKS_URL = "relay.E006"
NO_AGENT = "relay.E007"
NO_WEBHOOK_SECRET = "relay.E008"
UNKNOWN_SETTING = "relay.W001"
SECRET_NOT_SHARED = "relay.W002"
NO_TRACING = "relay.W003"


@register("relay")
def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Name each wrong setting, and each that does not exist. (``kwargs`` are Django's.)"""
    wrong: list[CheckMessage] = [
        Error(
            str(problem), hint="Correct it in the environment or in .env; .env.example explains it.", id=WRONG_SETTING
        )
        for problem in conf.problems()
    ]
    unknown = [
        Warning(f"{PREFIX}{name} is no setting of the gateway.", hint="Is it misspelt?", id=UNKNOWN_SETTING)
        for name in conf.unknown_names()
    ]
    misspelt = [
        Warning(f"{name} is no setting of the gateway.", hint=f"Write it as {meant}.", id=UNKNOWN_SETTING)
        for name, meant in conf.misspelt_names(os.environ)
    ]
    return [*wrong, *unknown, *misspelt]


@register("relay")
def check_session_layer(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse a channel layer that keeps no sessions. (``kwargs`` are Django's.)"""
    if any(True for _ in conf.problems()):
        return []  # the layer parses them
    layer = get_channel_layer()
    if isinstance(layer, SessionLayer) and EXTENSION in layer.extensions:
        return []
    return [
        Error(
            "CHANNEL_LAYERS['default'] keeps no sessions.",
            hint="Use relay.layers.memory.MemorySessionLayer; the layers of Channels itself have no session log.",
            id=NO_SESSION_LAYER,
        )
    ]


@register("relay")
def check_database(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse an address of the database that its driver would refuse. (``kwargs`` are Django's.)"""
    if any(True for _ in conf.problems()):
        return []
    try:
        check_driver(connections[DEFAULT_DB_ALIAS])
    except ValueError:
        words = (
            f"{PREFIX}DATABASE_URL has an option that the database's driver does not know, or no name of a database."
        )
        hint = "sqlite:///FILE and postgres://USER:PASSWORD@HOST:PORT/NAME work; .env.example explains them."
        return [Error(words, hint=hint, id=WRONG_SETTING)]
    return []


@register("relay")
def check_sizes(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse settings that contradict each other. (``kwargs`` are Django's.)"""
    if any(True for _ in conf.problems()):
        return []
    found: list[CheckMessage] = []
    largest = max(conf.max_event_bytes, conf.max_message_bytes)
    if conf.buffer_bytes < 2 * largest:
        found.append(
            Error(
                f"{PREFIX}BUFFER_BYTES must be at least twice {PREFIX}MAX_EVENT_BYTES and {PREFIX}MAX_MESSAGE_BYTES.",
                hint="A log must hold more than one frame, or no viewer could ever read it.",
                id=BUFFER_TOO_SMALL,
            )
        )
    reserved = sorted({*RESERVED_TYPES, "assistant_message", "error"} & set(conf.forward_types))
    if reserved:
        found.append(
            Error(
                f"{PREFIX}FORWARD_TYPES must not name types of the protocol itself: {', '.join(reserved)}.",
                hint="Name only kinds of message that your agent defines.",
                id=RESERVED_TYPE,
            )
        )
    return found


@register("relay")
def check_policy(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse a policy that could admit no client. (``kwargs`` are Django's.)"""
    if any(True for _ in conf.problems()):
        return []
    found: list[CheckMessage] = []
    try:
        policy_class(conf.ws_auth)
    except (ImportError, TypeError):
        found.append(
            Error(
                f"{PREFIX}WS_AUTH names no policy.",
                hint="Give open, ticket, session, jwt, or the dotted path of a subclass of relay.policies.Policy.",
                id=NO_POLICY,
            )
        )
    if conf.ws_auth == "jwt" and not conf.jwks_url:
        found.append(
            Error(
                f"{PREFIX}WS_AUTH=jwt needs {PREFIX}JWKS_URL.",
                hint="It is the address of your identity provider's public keys, often …/.well-known/jwks.json.",
                id=NO_JWKS_URL,
            )
        )
    if conf.ws_auth in ("ticket", "session") and conf.redis_urls and not conf.secret_key:
        found.append(
            Warning(
                f"{PREFIX}SECRET_KEY is empty, so each process has one of its own.",
                hint="Tickets and logins that one worker gives are wrong for the others: set the same key for all.",
                id=SECRET_NOT_SHARED,
            )
        )
    return found


@register("relay")
def check_agent(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse an agent that cannot be imported, and one with two credentials. (``kwargs`` are Django's.)"""
    if any(True for _ in conf.problems()):
        return []
    found: list[CheckMessage] = []
    try:
        make_agent(conf.agent_protocol)
    except Exception as exc:  # operators' code is imported, which may raise anything
        names = ", ".join(PROTOCOLS)
        found.append(
            Error(
                f"{PREFIX}AGENT_PROTOCOL names no agent: {exc}",
                hint=f"Give {names}, or the dotted path of an async generator function (message, session).",
                id=NO_AGENT,
            )
        )
    if conf.agent_api_key and any(name.lower() == "authorization" for name, _ in conf.agent_headers):
        found.append(
            Error(
                f"{PREFIX}AGENT_API_KEY and {PREFIX}AGENT_HEADERS both have a credential.",
                hint="Authorization belongs to AGENT_HEADERS only where it is no Bearer.",
                id=NO_AGENT,
            )
        )
    return found


@register("relay")
def check_webhooks(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse webhooks that no receiver could verify. (``kwargs`` are Django's.)"""
    if any(True for _ in conf.problems()) or not conf.webhook_url or conf.webhook_secrets:
        return []
    hint = "Make one with: python -c 'import base64, os; print(\"whsec_\" + base64.b64encode(os.urandom(32)).decode())'"
    return [Error(f"{PREFIX}WEBHOOK_URL needs {PREFIX}WEBHOOK_SECRET.", hint=hint, id=NO_WEBHOOK_SECRET)]


@register("relay")
def check_tracing(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn if the environment asks for traces and OpenTelemetry is not installed. (``kwargs`` are Django's.)"""
    exporter = wanted_exporter()
    if exporter not in EXPORTERS:
        words = f"OTEL_TRACES_EXPORTER must be one of {', '.join(EXPORTERS)}; there is no tracing now."
        return [Warning(words, hint="otlp sends to OTEL_EXPORTER_OTLP_ENDPOINT, over HTTP.", id=NO_TRACING)]
    if exporter != "none" and not is_installed():
        words = "The environment asks for traces, but OpenTelemetry is not installed; there is no tracing now."
        return [Warning(words, hint="pip install -r requirements-tracing.txt", id=NO_TRACING)]
    return []


def stop_on_errors() -> None:
    """Run the system checks as ``manage.py`` would: log warnings, and exit with the errors' text.

    Commands of ``manage.py`` have printed the warnings already.
    """
    found = [message for message in run_checks() if not message.is_silenced()]
    errors = [message for message in found if message.is_serious()]
    if errors:
        lines = "\n".join(str(error) for error in errors)
        sys.exit(f"The gateway does not start:\n{lines}")
    if Path(sys.argv[0]).name != "manage.py":
        for message in found:
            logger.warning("system check: %s", message)
