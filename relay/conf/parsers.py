"""Parsers of settings: each reads one kind of value from text, and describes the texts that it reads."""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, Generic, TypeVar

from relay import extras
from relay.addresses.http import check_http_address, how_to_escape
from relay.addresses.store import are_several, check_store_address
from relay.database.connection import check_database_address
from relay.protocol.agent_paths import AgentPath, parse_agent_path
from relay.protocol.origins import parse_origin

T = TypeVar("T")

MAX_SECONDS = 1_000_000_000  # three decades; a store refuses times that its clock cannot count
MAX_COUNT = 1_000_000_000_000

# The gateway's own headers of each request to the agent, in lower case; operators' headers are beside these.
GATEWAY_HEADERS: Final = frozenset(
    [
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "idempotency-key",
        "traceparent",
        "transfer-encoding",
        "x-internal-auth",
        "x-request-id",
        "x-subject",
    ]
)
_FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`~0-9A-Za-z-]+")
_FIELD_VALUE: Final = re.compile(r"[ -~]+")
_ONE_STORE: Final = " Name one store: sessions are not spread over several. docs/deployment.md says how to move."
_ONE_CLUSTER: Final = " A cluster has one login, before the first host, and no other database than 0."
_PAGE_LINK: Final = re.compile(r"(/(?!/)|https?://[^/\s])[^\s]*")

Headers = tuple[tuple[str, str], ...]
TrustedProxies = int | tuple[IPv4Network | IPv6Network, ...]  # their number, or their networks


class Parser(Generic[T]):
    """Reads one kind of value from text.

    Attributes:
        expected: describes valid texts.
        advise: says how to correct an invalid text, without repeating it.
        separator: of several values in one text.
    """

    def __init__(
        self,
        expected: str,
        read: Callable[[str], T],
        advise: Callable[[str], str] = lambda text: "",
        *,
        separator: str = ",",
    ) -> None:
        self.expected = expected
        self.read = read
        self.advise = advise
        self.separator = separator


def text(*, empty_means: str = "") -> Parser[str]:
    return Parser("a text", lambda raw: raw or empty_means)


def authorities() -> Parser[str]:
    """Read certificates of authorities, in PEM."""

    def read(raw: str) -> str:
        if raw:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=raw)
        return raw

    return Parser("the text of certificates in PEM", _with_files(read))


def certificate_path() -> Parser[str]:
    """Read the path of a file with a certificate and its key, in PEM and without a password."""

    def read(raw: str) -> str:
        if raw:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(raw, password="")
        return raw

    return Parser(
        "the path of a file with a certificate and its key, both in PEM and without a password", _with_files(read)
    )


def _with_files(read: Callable[[str], str]) -> Callable[[str], str]:
    """Raise ``ValueError`` where a file cannot be read, or OpenSSL does not understand it."""

    def checked(raw: str) -> str:
        try:
            return read(raw)
        except OSError as exc:  # ssl.SSLError is one
            raise ValueError from exc

    return checked


def keys() -> Parser[tuple[str, ...]]:
    def read(raw: str) -> tuple[str, ...]:
        names = tuple(part.strip() for part in raw.split(","))
        if not all(name.isascii() and name.isprintable() and name for name in names):
            raise ValueError
        return names

    return Parser("one key, or several separated by commas, of printable ASCII, none of them empty", read)


def names() -> Parser[tuple[str, ...]]:
    return Parser(
        "names separated by commas", lambda raw: tuple(part.strip() for part in raw.split(",") if part.strip())
    )


def choices(*words: str) -> Parser[frozenset[str]]:
    """Read names of a list, separated by commas, in any case."""

    def read(raw: str) -> frozenset[str]:
        named = frozenset(part.strip().lower() for part in raw.split(",") if part.strip())
        if not named <= set(words):
            raise ValueError
        return named

    return Parser(f"some of {', '.join(words)}, separated by commas", read)


def http_url() -> Parser[str]:
    def read(raw: str) -> str:
        if set(raw) & set("?# "):
            raise ValueError
        check_http_address(raw)
        return raw.rstrip("/")

    return Parser("an address that begins with http:// or https://, without query", read, how_to_escape)


def document_url() -> Parser[str]:
    def read(raw: str) -> str:
        if set(raw) & set("# "):
            raise ValueError
        if raw:
            check_http_address(raw)
        return raw

    return Parser("an address that begins with http:// or https://", read, how_to_escape)


def page_link() -> Parser[str]:
    """Read where a page leads or asks: a path of its own origin, or a whole address; empty: none is given."""

    def read(raw: str) -> str:
        if raw and not _PAGE_LINK.fullmatch(raw):
            raise ValueError
        return raw

    return Parser("a path that begins with /, or an address that begins with http:// or https://", read)


def url_path() -> Parser[str]:
    """Read the path of an address, perhaps with a query; empty: none is given."""

    def read(raw: str) -> str:
        if raw and not re.fullmatch(r"/[!\"$-~]*", raw):  # all of printable ASCII but the blank and #
            raise ValueError
        return raw

    return Parser("a path that begins with /, of printable ASCII without # and spaces", read)


def root_path() -> Parser[str]:
    """Read the path below which all paths are; empty: they are at the root of their host."""

    def read(raw: str) -> str:
        path = raw.rstrip("/")
        if path and not re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+", path):
            raise ValueError
        return path

    return Parser("a path such as /assistant, of A-Z a-z 0-9 . _ ~ -", read)


def agent_paths() -> Parser[tuple[AgentPath, ...]]:
    def read(raw: str) -> tuple[AgentPath, ...]:
        return tuple(parse_agent_path(part.strip()) for part in raw.split(",") if part.strip())

    return Parser(
        "paths such as /agents, /files/* or GET POST /feedback, separated by commas, none of them the gateway's own",
        read,
    )


def credential() -> Parser[str]:
    """Read a key as it stands behind ``Bearer``; empty: none is given."""

    def read(raw: str) -> str:
        if not re.fullmatch(r"[!-~]*", raw):
            raise ValueError
        return raw

    return Parser("a key of printable ASCII without spaces", read)


def webhook_secrets() -> Parser[tuple[bytes, ...]]:
    """Read secrets of Standard Webhooks, 24 to 64 bytes each: ``whsec_`` and their base64."""

    def read_one(text: str) -> bytes:
        scheme, _, encoded = text.strip().partition("_")
        secret = base64.b64decode(encoded, validate=True)
        if scheme != "whsec" or not 24 <= len(secret) <= 64:
            raise ValueError
        return secret

    return Parser(
        "whsec_ and the base64 of 24 to 64 random bytes; several separated by commas",
        lambda raw: tuple(read_one(part) for part in raw.split(",") if part.strip()),
    )


def headers() -> Parser[Headers]:
    """Read ``Name: value``, separated by ``|`` or line ends: HTTP fields (RFC 9110 §5.1, §5.5), each once."""

    def read(raw: str) -> Headers:
        lines = [line.strip() for line in re.split(r"[|\r\n]", raw) if line.strip()]
        found = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        names = {name.lower() for name, _ in found}
        is_valid = all(_FIELD_NAME.fullmatch(name) and _FIELD_VALUE.fullmatch(value) for name, value in found)
        if not is_valid or len(names) < len(found) or names & GATEWAY_HEADERS:
            raise ValueError
        return tuple(found)

    return Parser(
        "headers such as X-Team: chat|X-Tier: gold, separated by | or line ends, of printable ASCII, none twice,"
        " and none that the gateway itself must send",
        read,
        separator="|",
    )


def origins() -> Parser[tuple[str, ...]]:
    return Parser(
        "origins such as https://chat.example, https://*.example.com:8443, capacitor://localhost, separated by commas",
        lambda raw: tuple(parse_origin(part.strip()) for part in raw.split(",") if part.strip()),
    )


def redis_url() -> Parser[str]:
    return Parser(
        "an address that begins with redis://, rediss:// or unix://, or redis+sentinel://host:port,host:port/service,"
        " or redis+cluster://host:port,host:port, with options that the Redis client knows",
        check_store_address,
        lambda raw: _how_to_install("redis") or _how_to_name(raw),
    )


def _how_to_name(raw: str) -> str:
    """Say what is wrong with the address of a store, if that is known."""
    if are_several(raw):
        return _ONE_STORE
    return how_to_escape(raw) or (_ONE_CLUSTER if "+cluster://" in raw else "")


def database_url() -> Parser[str]:
    return Parser(
        "sqlite:///FILE or postgres://USER:PASSWORD@HOST:PORT/NAME, with options that its driver knows",
        check_database_address,
        lambda raw: (raw.startswith("postgres") and _how_to_install("postgres")) or how_to_escape(raw),
    )


def _how_to_install(extra: str) -> str:
    return "" if extras.is_installed(extra) else f" Its packages are missing: {extras.how_to_install(extra)}"


def name_prefix() -> Parser[str]:
    """Read the prefix of names in a store, without the colon that ends it.

    ``*?[]`` have a meaning in patterns, and ``{}`` in clusters.
    """

    def read(raw: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,32}", raw):
            raise ValueError
        return raw

    return Parser("1 to 32 of the characters A-Z a-z 0-9 . _ -", read)


def boolean() -> Parser[bool]:
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}

    def read(raw: str) -> bool:
        try:
            return words[raw.lower()]
        except KeyError as exc:
            raise ValueError from exc

    return Parser("true or false", read)


def seconds(least: float) -> Parser[float]:
    def read(raw: str) -> float:
        value = float(raw)
        if not least <= value <= MAX_SECONDS:  # not a number is neither
            raise ValueError
        return value

    return Parser(f"a number of seconds, at least {least:g} and at most {MAX_SECONDS:,}", read)


def count(least: int, unit: str, most: int = MAX_COUNT) -> Parser[int]:
    def read(raw: str) -> int:
        if not raw.isascii() or not raw.isdigit() or not least <= int(raw) <= most:
            raise ValueError
        return int(raw)

    return Parser(f"a whole number of {unit}, at least {least:,} and at most {most:,}", read)


def count_or_auto(least: int, unit: str, most: int = MAX_COUNT) -> Parser[int | None]:
    """Read a count, or ``None`` for ``auto``: the value depends on other settings."""
    counted = count(least, unit, most)
    return Parser(f"auto, or {counted.expected}", lambda raw: None if raw.lower() == "auto" else counted.read(raw))


def workers() -> Parser[int | None]:
    """Read a number of processes, or ``None`` for ``auto``: the number of cores."""
    return count_or_auto(1, "processes", most=256)


def proxies() -> Parser[TrustedProxies]:
    def read(raw: str) -> TrustedProxies:
        if raw.isascii() and raw.isdigit():
            return int(raw)
        return tuple(ip_network(part.strip()) for part in raw.split(","))

    return Parser("a number of proxies, or their addresses or networks separated by commas", read)


def choice(*words: str, fold: Callable[[str], str] = str.lower) -> Parser[str]:
    def read(raw: str) -> str:
        if fold(raw) not in words:
            raise ValueError
        return fold(raw)

    return Parser(f"one of {', '.join(words)}", read)
