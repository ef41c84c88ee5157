"""Adapters of other projects, which ``GATEWAY__ADAPTERS`` names by their dotted paths. Pure, apart from the import."""

from __future__ import annotations

import abc
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, ClassVar, Final, NamedTuple

from django.utils.module_loading import import_string

from relay.adapters.base import ChatRequest, Limits, Translator
from relay.exceptions import RelayError

ROOT: Final = "api/v1/adapters/"

_PATH: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]*(/[A-Za-z0-9][A-Za-z0-9._~-]*)*")


class AdapterRequest(NamedTuple):
    """A request of a front end.

    Attributes:
        body: a JSON object (any values); of its member ``messages``, if that is a list, only the last element.
        headers: by name, in any case.
        query: the parameters of the address; the last one of each name.
    """

    body: dict[str, Any]
    headers: Mapping[str, str]
    query: Mapping[str, str]


class Adapter(abc.ABC):
    """A front end's protocol over HTTP: a ``POST`` with JSON starts a turn, the response is its event stream.

    The gateway does the rest, as for its own adapters: access, limits, the queue, heartbeats, and breaking off a
    response whose turn does not end.

    Attributes:
        path: below ``api/v1/adapters/``, such as ``kiosk`` or ``kiosk/v2/ask``.
        last_events: data of events that follow the turn's last one.
    """

    path: ClassVar[str]
    last_events: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def read(self, request: AdapterRequest, limits: Limits) -> ChatRequest:
        """Return the session and the message of a request; see ``session_id_of``, ``user_message`` and ``forwarded``.

        Raises:
            ParameterInvalid, ClientMessageTooLarge: it is wrong or too long.
        """

    @abc.abstractmethod
    def translator(self, turn_id: str, request: AdapterRequest) -> Translator:
        """Return what writes the events of the turn that the request has started."""

    def refusal(self, reason: RelayError) -> dict[str, Any]:
        """Return the JSON object with which a request is refused. (The status is the gateway's.)"""
        return {"error": {"code": reason.code, "message": str(reason)}}


@cache
def load(dotted_path: str) -> Adapter:
    """Return the adapter of a dotted path: an ``Adapter``, or a subclass, of which one is made.

    Raises:
        ImportError: there is nothing at the dotted path.
        TypeError: the object there is no adapter, or has no valid path.
    """
    found = import_string(dotted_path)
    if isinstance(found, type) and issubclass(found, Adapter):
        found = found()
    if not isinstance(found, Adapter):
        raise TypeError(f"{dotted_path} is no relay.adapters.Adapter")
    if not _PATH.fullmatch(getattr(found, "path", "")):
        raise TypeError(f"{dotted_path} must have a path such as kiosk/ask, of A-Z a-z 0-9 . _ ~ -")
    return found


def dotted_paths(adapters: Iterable[str]) -> Iterator[str]:
    """Return those of the setting's names that are dotted paths."""
    return (name for name in sorted(adapters) if "." in name)


def find(path: str, adapters: Iterable[str]) -> str | None:
    """Return the dotted path of the adapter at a path below ``ROOT``; ``None`` if there is none."""
    return next((name for name in dotted_paths(adapters) if load(name).path == path), None)
