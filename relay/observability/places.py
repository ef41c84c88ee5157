"""Names the parts outside the process that a log line is about: the agent, the store, the database, the provider."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Final

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections

from relay.addresses.place import place
from relay.conf import SettingInvalid, conf, is_own_project

MAX_LOGGERS: Final = 256  # remembered


def agent() -> str:
    """Return the agent's host and path, or the dotted path of the function that is the agent."""
    return conf.agent_protocol if "." in conf.agent_protocol else place(conf.agent_url)


def store() -> str:
    """Return the store's place."""
    return place(conf.redis_url) or "memory"


def database() -> str:
    """Return the database's host and name, or its file."""
    if not is_own_project():
        configured = connections[DEFAULT_DB_ALIAS].settings_dict
        return f"{configured['HOST']}/{configured['NAME']}" if configured["HOST"] else str(configured["NAME"])
    scheme, _, file = conf.database_url.partition(":///")
    return file if scheme == "sqlite" else place(conf.database_url)


def _provider() -> str:
    return place(conf.jwks_url)


_OF_LOGGERS: Final[dict[str, tuple[str, Callable[[], str]]]] = {
    "relay.agent.": ("agent", agent),
    "relay.layers.redis.": ("store", store),
    "relay.policies.key_set": ("provider", _provider),
    "relay.transcripts.": ("database", database),
}


def of_logger(name: str) -> tuple[str, str] | None:
    """Return the member that each line of a logger has, and its value; ``None`` if it has none."""
    found = _finder(name)
    if found is not None:
        member, find = found
        with suppress(SettingInvalid, ImproperlyConfigured):  # the line may be about just that
            return member, find()
    return None


@lru_cache(MAX_LOGGERS)
def _finder(name: str) -> tuple[str, Callable[[], str]] | None:
    return next((found for prefix, found in _OF_LOGGERS.items() if name.startswith(prefix)), None)
