"""Origins of web pages, as ``ALLOWED_ORIGINS`` names them. Pure.

An origin is scheme, host and port (RFC 6454 §4); browsers send it in lower case and without a default port (§6.2). A
dot at the host's end is sent too, and names the same host.
Pages inside a native shell have a scheme of the shell's own: ``capacitor://localhost``, ``tauri://localhost``, ``app://-``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")  # RFC 3986 §3.1
_NO_PAGES: Final = frozenset({"about", "blob", "data", "file", "filesystem", "ftp", "javascript", "ws", "wss"})
_HOST: Final = re.compile(r"(\*\.)?([a-z0-9_-]+\.)*[a-z0-9_-]+\.?|\[[0-9a-f:.]+\]")
_PORT: Final = re.compile(r":[0-9]+\Z")
_SUBDOMAINS: Final = r"([a-z0-9_-]+\.)+"


def parse_origin(text: str) -> str:
    """Normalise an origin as browsers do, without a dot at its host's end; a host of ``*.`` stands for every subdomain.

    Raises:
        ValueError: the text is no origin.
    """
    parts = urlsplit(text.lower())
    if not _SCHEME.fullmatch(parts.scheme) or parts.scheme in _NO_PAGES:
        raise ValueError("not a scheme of pages")
    if text.lower().removesuffix("/") != f"{parts.scheme}://{parts.netloc}":
        raise ValueError("not scheme://host")
    port = parts.port
    host = parts.netloc if port is None else parts.netloc.rpartition(":")[0]
    is_shell = parts.scheme not in _DEFAULT_PORTS
    if not _HOST.fullmatch(host) and not (is_shell and host == "."):  # Electron's pages may be at app://.
        raise ValueError("not a host")
    host = host if host == "." else host.removesuffix(".")
    is_default = port is None or port == _DEFAULT_PORTS.get(parts.scheme)
    return f"{parts.scheme}://{host}" if is_default else f"{parts.scheme}://{host}:{port}"


def is_listed(origin: str, allowed: Iterable[str]) -> bool:
    """Is this one of the allowed origins?"""
    return any(re.fullmatch(origin_pattern(one), origin) for one in allowed)


def is_own(origin: str, host: str, *, is_secure: bool) -> bool:
    """Is this the origin of pages that the gateway itself serves under ``host`` (the header)?

    Over TLS it must start with ``https``. Without, it may be either: a proxy that ends TLS does not always report it.
    """
    try:
        parsed = parse_origin(origin)
        schemes = ("https",) if is_secure else ("https", "http")
        return parsed in [parse_origin(f"{scheme}://{host}") for scheme in schemes]
    except ValueError:
        return False


def origin_pattern(origin: str) -> str:
    """Return a regular expression that fully matches an allowed origin, and no other text."""
    scheme_and_host, colon, port = origin.rpartition(":") if _PORT.search(origin) else (origin, "", "")
    dot = "" if scheme_and_host.endswith("]") else r"\.?"
    escaped = re.escape(scheme_and_host).replace(r"\*\.", _SUBDOMAINS, 1)
    return rf"\A{escaped}{dot}{colon}{port}\Z"
