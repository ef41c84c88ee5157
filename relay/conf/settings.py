"""Every setting, declared once: its name, its values, its default and its reason.

Django's setting ``GATEWAY`` holds them: texts, as ``settings_from_environment`` collects them from ``GATEWAY__…``, or
Python's values. Code asks ``conf`` for typed values. A wrong value stops the start with a system check that names it
(``relay.checks``).
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, overload

from django.apps import apps
from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver

from relay import __version__
from relay.conf.names import field_names, handlers, name_or_path, names_or_paths
from relay.conf.parsers import (
    Parser,
    agent_paths,
    authorities,
    boolean,
    certificate_path,
    choice,
    choices,
    count,
    count_or_auto,
    credential,
    database_url,
    document_url,
    headers,
    http_url,
    keys,
    name_prefix,
    names,
    origins,
    page_link,
    proxies,
    redis_url,
    root_path,
    seconds,
    text,
    url_path,
    webhook_secrets,
    workers,
)
from relay.conf.values import SettingValue, as_text
from relay.protocol.client_messages import MAX_NESTING
from relay.translations import ENGLISH, ask_language_of, languages

T = TypeVar("T")

PREFIX = "GATEWAY__"
MAX_CONVERSATION_BYTES = 8_388_608
WEBHOOK_EVENTS = ("turn.completed", "turn.failed", "turn.cancelled", "turn.waiting")
FILE_SUFFIX = "_FILE"  # GATEWAY__SECRET_KEY_FILE names a file that holds the text: Docker's and Kubernetes' secrets


class SettingInvalid(ValueError):
    """A setting's value is invalid. The value itself is not repeated, because it may be a secret."""

    def __init__(self, name: str, expected: str, advice: str = "") -> None:
        super().__init__(name, expected, advice)
        self.name = name
        self.expected = expected
        self.advice = advice

    def __str__(self) -> str:
        return f"{PREFIX}{self.name} must be {self.expected}.{self.advice}"


class Setting(Generic[T]):
    """One setting, as a property of ``conf``, parsed when it is first read.

    ``None`` counts as unset, and so does an empty text unless ``may_be_unset`` is false.
    """

    def __init__(self, name: str, parser: Parser[T], default: str, *, may_be_unset: bool = True) -> None:
        self.name = name
        self.file_name = f"{name}{FILE_SUFFIX}"
        self.default = default
        self.attribute = ""
        self._parser = parser
        self.may_be_unset = may_be_unset

    def __set_name__(self, owner: type[Any], attribute: str) -> None:
        self.attribute = attribute

    @overload
    def __get__(self, conf: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, conf: Conf, owner: type[Any]) -> T: ...
    def __get__(self, conf: Conf | None, owner: type[Any]) -> Self | T:
        if conf is None:
            return self
        given = conf.given
        if self.file_name in given:  # `read_texts` left it, so the setting must not be the default
            raise SettingInvalid(self.file_name, f"a file of text, not an empty one, and {self.name} must not be set")
        text = given.get(self.name)
        with contextlib.suppress(ValueError):
            text = as_text(text, self._parser.separator)
            if text is None or (self.may_be_unset and not text.strip()):
                text = self.default
            value = self._parser.read(text.strip())
            vars(conf)[self.attribute] = value  # found there from now on, as with functools.cached_property
            return value
        advice = self._parser.advise(text) if isinstance(text, str) else ""
        raise SettingInvalid(
            self.name, self._parser.expected, advice
        )  # not from the error that `read` raised, which may quote the text


class Conf:
    """The settings as typed values, each parsed once. A property raises ``SettingInvalid`` for a wrong value."""

    def __init__(self, source: Callable[[], Mapping[str, SettingValue]]) -> None:
        self._source = source

    def forget(self) -> None:
        """Parse every setting again when it is next read: the values have changed."""
        for setting in self.settings():
            vars(self).pop(setting.attribute, None)

    @property
    def given(self) -> Mapping[str, SettingValue]:
        """The values as they were given, by names without the prefix."""
        return self._source()

    # The five settings that existing deployments have.
    internal_api_keys = Setting("INTERNAL_API_KEY", keys(), "change-me-internal-key", may_be_unset=False)
    agent_url = Setting("AGENT_URL", http_url(), "http://localhost:8001")
    request_timeout_seconds = Setting("REQUEST_TIMEOUT", seconds(0.1), "30.0")
    log_level = Setting("LOG_LEVEL", choice(*logging.getLevelNamesMapping(), fold=str.upper), "DEBUG")
    version = Setting("VERSION", text(empty_means=__version__), "")

    # The agent: its protocol, and what it is told beside the message. (A protocol's names: relay.agent.protocols.)
    agent_protocol = Setting(
        "AGENT_PROTOCOL",
        name_or_path("agent", "openai", "agui", "aisdk", "responses", "langgraph", "a2a"),
        "agent",
    )
    agent_path = Setting("AGENT_PATH", url_path(), "")
    agent_api_key = Setting("AGENT_API_KEY", credential(), "")
    agent_model = Setting("AGENT_MODEL", text(), "")
    agent_headers = Setting("AGENT_HEADERS", headers(), "")
    agent_message = Setting("AGENT_MESSAGE", choice("flat", "nested"), "flat")
    agent_history_turns = Setting("AGENT_HISTORY", count(0, "turns", most=1_000), "20")
    agent_history_characters = Setting("AGENT_HISTORY_CHARACTERS", count(0, "characters"), "100000")
    agent_system_prompt = Setting("AGENT_SYSTEM_PROMPT", text(), "")
    agent_resume_seconds = Setting("AGENT_RESUME_SECONDS", seconds(0), "60")
    agent_resumes = Setting("AGENT_RESUMES", boolean(), "false")
    agent_pass = Setting("AGENT_PASS", agent_paths(), "")
    agent_ca = Setting("AGENT_CA", authorities(), "")
    agent_client_cert = Setting("AGENT_CLIENT_CERT", certificate_path(), "")

    # Store. Without an address sessions are kept in memory.
    layer = Setting("LAYER", text(), "default")
    redis_url = Setting("REDIS_URL", redis_url(), "")
    redis_prefix = Setting("REDIS_PREFIX", name_prefix(), "relay")
    buffer_frames = Setting("BUFFER_SIZE", count(16, "frames"), "10000")
    buffer_bytes = Setting("BUFFER_BYTES", count(65_536, "bytes"), "4194304")
    buffer_ttl_seconds = Setting("BUFFER_TTL", seconds(1), "3600")
    pending_ttl_seconds = Setting("PENDING_TTL", seconds(1), "3600")
    max_sessions = Setting("MAX_SESSIONS", count(1, "sessions"), "10000")
    max_empty_sessions = Setting("MAX_EMPTY_SESSIONS", count(1, "sessions"), "10000")
    lease_seconds = Setting("LEASE_SECONDS", seconds(0.5), "5")

    # Sizes.
    max_message_bytes = Setting("MAX_MESSAGE_BYTES", count(1_024, "bytes"), "262144")
    max_event_bytes = Setting("MAX_EVENT_BYTES", count(1_024, "bytes"), "1048576")
    max_turn_bytes = Setting("MAX_TURN_BYTES", count(1_024, "bytes"), "8388608")
    max_queue = Setting("MAX_QUEUE", count(0, "messages"), "16")

    # Times.
    turn_timeout_seconds = Setting("TURN_TIMEOUT", seconds(1), "3600")
    heartbeat_seconds = Setting("HEARTBEAT_SECONDS", seconds(0.2), "20")
    drain_seconds = Setting("DRAIN_SECONDS", seconds(0), "20")

    idle_timeout_seconds = Setting("IDLE_TIMEOUT", seconds(0), "86400")

    # Limits of one client.
    rate_limit = Setting("RATE_LIMIT", count(0, "messages a minute"), "300")
    address_rate_limit = Setting("ADDRESS_RATE_LIMIT", count(0, "messages a minute"), "0")
    max_sockets = Setting("MAX_SOCKETS", count(1, "connections"), "5000")
    address_max_sockets = Setting("ADDRESS_MAX_SOCKETS", count(0, "connections"), "0")
    address_connect_rate = Setting("ADDRESS_CONNECT_RATE", count_or_auto(0, "connections a minute"), "auto")
    max_json_depth = Setting("MAX_JSON_DEPTH", count(1, "levels", most=MAX_NESTING), str(MAX_NESTING))

    # Behaviour.
    language = Setting("LANGUAGE", choice(*languages()), ENGLISH)
    log_format = Setting("LOG_FORMAT", choice("auto", "json", "console"), "auto")
    on_disconnect = Setting("ON_DISCONNECT", choice("continue", "cancel"), "continue")
    adapters = Setting("ADAPTERS", names_or_paths("ai-sdk", "ag-ui", "openai"), "")
    forward_types = Setting("FORWARD_TYPES", names(), "")
    message_handlers = Setting("MESSAGE_HANDLERS", handlers(), "")
    message_fields = Setting("MESSAGE_FIELDS", field_names(), "")
    max_concurrent_turns = Setting("MAX_CONCURRENT_TURNS", count(1, "turns"), "1000")
    workers = Setting("WORKERS", workers(), "1")  # of one ``serve``; None: one for each core
    transcripts = Setting("TRANSCRIPTS", boolean(), "true")
    transcript_days = Setting("TRANSCRIPT_DAYS", count(0, "days", most=36_500), "0")
    transcript_events_bytes = Setting("TRANSCRIPT_EVENTS_BYTES", count(0, "bytes"), "262144")
    chat_page = Setting("CHAT_PAGE", boolean(), "false")
    chat_login_url = Setting("CHAT_LOGIN_URL", page_link(), "")
    chat_credential_url = Setting("CHAT_CREDENTIAL_URL", page_link(), "")
    admin = Setting("ADMIN", boolean(), "false")
    metrics_open = Setting("METRICS_OPEN", boolean(), "false")

    # Webhooks.
    webhook_url = Setting("WEBHOOK_URL", document_url(), "")
    webhook_secrets = Setting("WEBHOOK_SECRET", webhook_secrets(), "")
    webhook_events = Setting("WEBHOOK_EVENTS", choices(*WEBHOOK_EVENTS), ",".join(WEBHOOK_EVENTS))
    webhook_when = Setting("WEBHOOK_WHEN", choice("always", "unwatched"), "always")
    webhook_content = Setting("WEBHOOK_CONTENT", boolean(), "false")

    # Access.
    ws_auth = Setting("WS_AUTH", name_or_path("open", "ticket", "session", "jwt"), "open")
    ticket_seconds = Setting("TICKET_SECONDS", seconds(1), "60")
    jwks_url = Setting("JWKS_URL", document_url(), "")
    jwt_issuer = Setting("JWT_ISSUER", text(), "")
    jwt_audience = Setting("JWT_AUDIENCE", text(), "")
    jwt_leeway_seconds = Setting("JWT_LEEWAY", seconds(0), "10")
    allowed_origins = Setting("ALLOWED_ORIGINS", origins(), "")
    allow_no_origin = Setting("ALLOW_NO_ORIGIN", boolean(), "true")
    trusted_proxies = Setting("TRUSTED_PROXIES", proxies(), "0")

    # Django's own. Without a SECRET_KEY each process makes its own.
    secret_key = Setting("SECRET_KEY", text(), "")
    debug = Setting("DEBUG", boolean(), "false")
    allowed_hosts = Setting("ALLOWED_HOSTS", names(), "*")
    https = Setting("HTTPS", boolean(), "false")
    root_path = Setting("ROOT_PATH", root_path(), "")
    silenced_checks = Setting("SILENCED_CHECKS", names(), "")
    database_url = Setting("DATABASE_URL", database_url(), "sqlite:///db.sqlite3")

    @property
    def max_request_bytes(self) -> int:
        """The largest body of an HTTP request; other front ends repeat the whole conversation with each message."""
        return max(self.max_message_bytes, MAX_CONVERSATION_BYTES if self.adapters else 0)

    @property
    def further_kinds(self) -> frozenset[str]:
        """The kinds of message beside ``user_message`` that start a turn."""
        return frozenset(self.forward_types) | self.message_handlers.keys()

    def settings(self) -> Iterator[Setting[Any]]:
        """Return every setting, of any type, in the order of declaration."""
        return (member for member in vars(type(self)).values() if isinstance(member, Setting))

    def problems(self) -> Iterator[SettingInvalid]:
        """Return the error of each invalid value."""
        for setting in self.settings():
            try:
                setting.__get__(self, type(self))
            except SettingInvalid as problem:
                yield problem

    def unknown_names(self) -> list[str]:
        """Return the names that are no setting's, which are most likely misspelt."""
        known = {name for setting in self.settings() for name in (setting.name, setting.file_name)}
        return sorted(set(self.given) - known)

    def misspelt_names(self, environment: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Return each name that differs from a setting's only in case or underscores, with that setting's name."""
        names = [PREFIX + name for setting in self.settings() for name in (setting.name, setting.file_name)]
        known = {_plain(name): name for name in names}
        for name in sorted(environment):
            if _plain(name) in known and not name.startswith(PREFIX):  # those with the prefix are unknown names
                yield name, known[_plain(name)]

    def without_problems(self) -> Conf:
        """Return a copy in which each invalid value is unset, so that Django starts far enough to name them."""
        wrong = {problem.name for problem in self.problems()}
        given = {name: value for name, value in self.given.items() if name not in wrong}
        return Conf(lambda: given)


def _plain(name: str) -> str:
    return name.casefold().replace("_", "")


def read_texts(environment: Mapping[str, str]) -> dict[str, str]:
    """Collect the texts of an environment, without the prefix, and those of the files that it names.

    A file that cannot be read, is empty, or is given beside a text, leaves its own name: its setting is invalid then.
    """
    texts = {name.removeprefix(PREFIX): value for name, value in environment.items() if name.startswith(PREFIX)}
    for setting in Conf(dict).settings():
        path = texts.get(setting.file_name, "").strip()
        if not path:
            texts.pop(setting.file_name, None)
        elif not texts.get(setting.name, "").strip() and (text := _read_secret(Path(path))):
            texts[setting.name] = text
            del texts[setting.file_name]
    return texts


def _read_secret(path: Path) -> str | None:
    """Read a file of UTF-8, with a byte order mark or without; ``None`` if it is empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError):
        return None
    return text if text.strip() and "\0" not in text else None


def settings_from_environment(environment: Mapping[str, str] | None = None) -> dict[str, SettingValue]:
    """Return the settings that an environment holds (``GATEWAY__…``), for Django's setting ``GATEWAY``.

    A variable that is empty is left out, so that it replaces nothing. Merge by ``|``: the right side wins.

    Args:
        environment: ``os.environ`` if it is not given.
    """
    texts = read_texts(os.environ if environment is None else environment)
    needed = {setting.name for setting in Conf(dict).settings() if not setting.may_be_unset}
    return {name: text for name, text in texts.items() if text.strip() or name in needed}


def is_own_project() -> bool:
    """Does the gateway run by itself, in ``gateway_project``?"""
    return apps.is_installed("gateway_project")


def named(setting: str) -> str:
    """Name a setting of Django as the project at hand has it."""
    return f"{PREFIX}{setting}" if is_own_project() else setting


conf = Conf(lambda: getattr(settings, "GATEWAY", {}))
ask_language_of(lambda: conf.language)


@receiver(setting_changed, dispatch_uid="relay.conf")
def _forget_changed(*, setting: str, **kwargs: object) -> None:
    """Follow ``override_settings`` and its like. (``kwargs`` are Django's.)"""
    if setting == "GATEWAY":
        conf.forget()
