"""Checks of each start: settings that would fail later stop it, with the setting's name and a hint."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

from channels.layers import get_channel_layer
from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, router

from relay.adapters.project import dotted_paths
from relay.adapters.project import load as load_adapter
from relay.agent.choice import make_agent
from relay.agent.handlers import load_handler
from relay.agent.protocols import PROTOCOLS
from relay.agent.protocols.base import RESERVED_TYPES
from relay.conf import PREFIX, conf, is_own_project
from relay.database.connection import check_driver
from relay.extras import how_to_install
from relay.layers.base import EXTENSION, SessionLayer
from relay.policies import policy_class
from relay.turns.tracing_choice import EXPORTERS, is_installed, wanted_exporter

WRONG_SETTING = "relay.E001"
NO_SESSION_LAYER = "relay.E002"
BUFFER_TOO_SMALL = "relay.E003"
RESERVED_TYPE = "relay.E004"
NO_POLICY = "relay.E005"
NO_JWKS_URL = "relay.E006"
NO_AGENT = "relay.E007"
NO_WEBHOOK_SECRET = "relay.E008"
NO_ADAPTER = "relay.E009"
NO_HANDLER = "relay.E015"
NO_TIME_ZONES = "relay.E016"
NO_EXACT_NAMES = "relay.E017"
UNKNOWN_SETTING = "relay.W001"
SECRET_NOT_SHARED = "relay.W002"
NO_TRACING = "relay.W003"
STORE_UNUSED = "relay.W004"
NOT_HERE = "relay.W005"

# Settings of the gateway's own project, with those of Django that another project has.
DJANGOS: Final = {
    "ALLOWED_HOSTS": "ALLOWED_HOSTS",
    "DATABASE_URL": "DATABASES",
    "DEBUG": "DEBUG",
    "HTTPS": "SESSION_COOKIE_SECURE, CSRF_COOKIE_SECURE, SECURE_HSTS_SECONDS",
    "LOG_FORMAT": "LOGGING",
    "LOG_LEVEL": "LOGGING",
    "ROOT_PATH": "FORCE_SCRIPT_NAME",
    "SECRET_KEY": "SECRET_KEY",
    "SILENCED_CHECKS": "SILENCED_SYSTEM_CHECKS",
}


@register("relay")
def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Name each wrong setting, and each that does not exist. (``kwargs`` are Django's.)"""
    wrong: list[CheckMessage] = [
        Error(
            str(problem),
            hint="Correct it in the environment, in .env or in Django's setting GATEWAY; .env.example describes it.",
            id=WRONG_SETTING,
        )
        for problem in conf.problems()
    ]
    unknown = [
        Warning(f"The gateway has no setting {PREFIX}{name}.", hint="Check its spelling.", id=UNKNOWN_SETTING)
        for name in conf.unknown_names()
    ]
    misspelt = [
        Warning(f"The gateway has no setting {name}.", hint=f"Write it as {meant}.", id=UNKNOWN_SETTING)
        for name, meant in conf.misspelt_names(os.environ)
    ]
    return [*wrong, *unknown, *misspelt, *_of_another_project()]


def _of_another_project() -> Iterator[CheckMessage]:
    """Name settings that stand for Django's own in the gateway's project, and mean nothing in another."""
    if not is_own_project():
        for name in sorted(DJANGOS.keys() & conf.given.keys()):
            hint = f"Use Django's own settings instead: {DJANGOS[name]}."
            yield Warning(f"{PREFIX}{name} has no effect in this project.", hint=hint, id=NOT_HERE)


@register("relay")
def check_session_layer(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse a channel layer that is not a session layer. (``kwargs`` are Django's.)"""
    if any(True for _ in conf.problems()):
        return []  # the layer parses them
    name = f"CHANNEL_LAYERS['{conf.layer}']"
    try:
        layer = get_channel_layer(conf.layer)
    except ImproperlyConfigured as exc:
        return [Error(f"{name} cannot be created: {exc}.", id=NO_SESSION_LAYER)]
    if not isinstance(layer, SessionLayer) or EXTENSION not in layer.extensions:
        hint = (
            "Use relay.layers.memory.MemorySessionLayer or relay.layers.redis.RedisSessionLayer: the layers of Channels"
            f" itself have no session log. {PREFIX}LAYER names it, if it is beside your own."
        )
        return [Error(f"{name} is not a session layer.", hint=hint, id=NO_SESSION_LAYER)]
    if conf.redis_url and not layer.survives_process:
        hint = "Its BACKEND must be relay.layers.redis.RedisSessionLayer."
        return [Warning(f"{PREFIX}REDIS_URL has no effect: {name} uses no store.", hint=hint, id=STORE_UNUSED)]
    return []


@register("relay")
def check_database(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse an address of the database that its driver would refuse. (``kwargs`` are Django's.)"""
    if any(True for _ in conf.problems()) or not is_own_project():
        return []
    try:
        check_driver(connections[DEFAULT_DB_ALIAS])
    except ValueError:
        words = f"{PREFIX}DATABASE_URL has an option unknown to the database driver, or no database name."
        hint = "sqlite:///FILE and postgres://USER:PASSWORD@HOST:PORT/NAME work; .env.example describes them."
        return [Error(words, hint=hint, id=WRONG_SETTING)]
    return []


@register("relay")
def check_time_zones(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse to start where each turn would be lost: its times have a time zone. (``kwargs`` are Django's.)"""
    if settings.USE_TZ or any(True for _ in conf.problems()) or not conf.transcripts:
        return []
    hint = f"Set USE_TZ = True, or {PREFIX}TRANSCRIPTS=false."
    return [Error("Transcripts cannot be kept with USE_TZ = False.", hint=hint, id=NO_TIME_ZONES)]


@register("relay")
def check_kind_of_database(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse a database that may give one session's transcripts to another. (``kwargs`` are Django's.)

    MySQL and MariaDB compare texts without regard to case unless their collation says otherwise.
    """
    if any(True for _ in conf.problems()) or not conf.transcripts:
        return []
    connection = connections[router.db_for_write(apps.get_model("relay", "Turn"))]
    if connection.vendor in ("postgresql", "sqlite"):
        return []
    words = (
        f"Transcripts are not kept in {connection.display_name}, which may take the sessions a and A for the same one."
    )
    hint = (
        "Send the app relay to PostgreSQL or SQLite (DATABASE_ROUTERS), or set"
        f" {PREFIX}TRANSCRIPTS=false. If your database tells a from A, silence this check."
    )
    return [Error(words, hint=hint, id=NO_EXACT_NAMES)]


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
                hint="A log must hold more than one frame; otherwise no viewer could read it.",
                id=BUFFER_TOO_SMALL,
            )
        )
    for name, kinds in (("FORWARD_TYPES", {*conf.forward_types}), ("MESSAGE_HANDLERS", {*conf.message_handlers})):
        reserved = sorted({*RESERVED_TYPES, "assistant_message", "error"} & kinds)
        if reserved:
            found.append(
                Error(
                    f"{PREFIX}{name} must not contain types of the gateway's own protocol: {', '.join(reserved)}.",
                    hint="Name only message types that you or your agent define.",
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
                f"{PREFIX}WS_AUTH does not name a policy.",
                hint="Use open, ticket, session, jwt, or the dotted path of a subclass of relay.policies.Policy.",
                id=NO_POLICY,
            )
        )
    if conf.ws_auth == "jwt" and not conf.jwks_url:
        found.append(
            Error(
                f"{PREFIX}WS_AUTH=jwt needs {PREFIX}JWKS_URL.",
                hint="Set it to the address of your identity provider's public keys, often …/.well-known/jwks.json.",
                id=NO_JWKS_URL,
            )
        )
    if is_own_project() and conf.ws_auth in ("ticket", "session") and conf.redis_url and not conf.secret_key:
        found.append(
            Warning(
                f"{PREFIX}SECRET_KEY is empty, so each process generates its own.",
                hint="Tickets and logins from one process are then invalid in the others: set the same key for all.",
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
                f"{PREFIX}AGENT_PROTOCOL does not name an agent: {exc}",
                hint=f"Use {names}, or the dotted path of an async generator function (message, session).",
                id=NO_AGENT,
            )
        )
    if conf.agent_api_key and any(name.lower() == "authorization" for name, _ in conf.agent_headers):
        found.append(
            Error(
                f"{PREFIX}AGENT_API_KEY and {PREFIX}AGENT_HEADERS both contain a credential.",
                hint="Put Authorization into AGENT_HEADERS only if it is not a Bearer credential.",
                id=NO_AGENT,
            )
        )
    return found


@register("relay")
def check_handlers(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse handlers of messages that cannot be imported. (``kwargs`` are Django's.)"""
    if any(True for _ in conf.problems()):
        return []
    found: list[CheckMessage] = []
    for kind, path in conf.message_handlers.items():
        try:
            load_handler(path)
        except Exception as exc:  # operators' code is imported, which may raise anything
            words = f"{PREFIX}MESSAGE_HANDLERS names no handler of {kind}: {exc}"
            hint = "Use the dotted path of an async generator function (message, session)."
            found.append(Error(words, hint=hint, id=NO_HANDLER))
    return found


@register("relay")
def check_adapters(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse adapters that cannot be imported, and two at one path. (``kwargs`` are Django's.)"""
    if any(True for _ in conf.problems()):
        return []
    found: list[CheckMessage] = []
    paths: set[str] = set()
    for name in dotted_paths(conf.adapters):
        try:
            adapter = load_adapter(name)
            if adapter.path in paths:
                raise TypeError(f"{name} has the path of another adapter")
            paths.add(adapter.path)
        except Exception as exc:  # operators' code is imported, which may raise anything
            hint = "Use ai-sdk, ag-ui, openai, or the dotted path of a subclass of relay.adapters.Adapter."
            found.append(Error(f"{PREFIX}ADAPTERS does not name an adapter: {exc}", hint=hint, id=NO_ADAPTER))
    return found


@register("relay")
def check_webhooks(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse webhooks that no receiver could verify. (``kwargs`` are Django's.)"""
    if any(True for _ in conf.problems()) or not conf.webhook_url or conf.webhook_secrets:
        return []
    hint = "Generate it: python -c 'import base64, os; print(\"whsec_\" + base64.b64encode(os.urandom(32)).decode())'"
    return [Error(f"{PREFIX}WEBHOOK_URL needs {PREFIX}WEBHOOK_SECRET.", hint=hint, id=NO_WEBHOOK_SECRET)]


@register("relay")
def check_tracing(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn if the environment asks for traces and OpenTelemetry is not installed. (``kwargs`` are Django's.)"""
    exporter = wanted_exporter()
    if exporter not in EXPORTERS:
        words = f"OTEL_TRACES_EXPORTER must be one of {', '.join(EXPORTERS)}; tracing is off."
        return [Warning(words, hint="otlp sends to OTEL_EXPORTER_OTLP_ENDPOINT, over HTTP.", id=NO_TRACING)]
    if exporter != "none" and not is_installed():
        words = "The environment asks for traces, but OpenTelemetry is not installed; tracing is off."
        return [Warning(words, hint=how_to_install("tracing"), id=NO_TRACING)]
    return []
