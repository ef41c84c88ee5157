"""Parsers of settings that name something: code of a project, or fields of messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from relay.conf.parsers import Parser

# Fields of a message that have a meaning in the gateway.
OWN_FIELDS: Final = frozenset(
    [
        "client_message_id",
        "content",
        "from_offset",
        "offset",
        "on_busy",
        "replaces",
        "resume",
        "session_id",
        "traceparent",
        "turn_id",
        "type",
    ]
)
_MEMBER_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def name_or_path(*words: str) -> Parser[str]:
    """Read a name, or the dotted path of Python code; a system check imports it."""

    def read(raw: str) -> str:
        if raw.lower() in words:
            return raw.lower()
        if "." not in raw or not all(part.isidentifier() for part in raw.split(".")):
            raise ValueError
        return raw

    return Parser(f"one of {', '.join(words)}, or a dotted path of Python code", read)


def names_or_paths(*words: str) -> Parser[frozenset[str]]:
    """Read names of a list, in any case, and dotted paths of Python code, separated by commas."""
    one = name_or_path(*words)

    def read(raw: str) -> frozenset[str]:
        return frozenset(one.read(part.strip()) for part in raw.split(",") if part.strip())

    return Parser(f"some of {', '.join(words)} and dotted paths of Python code, separated by commas", read)


def handlers() -> Parser[Mapping[str, str]]:
    """Read dotted paths of Python code by the kind of message that it answers; a system check imports them."""

    def read(raw: str) -> Mapping[str, str]:
        pairs = [part.partition(":") for part in raw.split(",") if part.strip()]
        found = {kind.strip(): path.strip() for kind, _, path in pairs}
        if len(found) < len(pairs) or not all(_MEMBER_NAME.fullmatch(kind) for kind in found):
            raise ValueError
        return {kind: code.read(path) for kind, path in found.items()}

    code = name_or_path()
    return Parser("kinds with dotted paths, such as rate: shop.chat.rate, separated by commas, none twice", read)


def field_names() -> Parser[frozenset[str]]:
    """Read names of a message's fields that are none of the gateway's own."""

    def read(raw: str) -> frozenset[str]:
        named = frozenset(part.strip() for part in raw.split(",") if part.strip())
        if named & OWN_FIELDS or not all(_MEMBER_NAME.fullmatch(name) for name in named):
            raise ValueError
        return named

    own = ", ".join(sorted(OWN_FIELDS))
    return Parser(f"names of A-Z a-z 0-9 _ -, separated by commas, and none of {own}", read)
