"""The agent's own error text, made fit for a client's eyes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

MAX_ERROR_CHARACTERS: Final = 500  # words for a person; a page of them helps nobody

# Each repeat before a fixed part has a bound or cannot overlap it: hostile text must not make the search backtrack.
_TRACE: Final = re.compile(
    r"(Traceback \(most recent call last\)|^[ \t]*File \"|^[ \t]+at \S[^(:]*[(:]).*", re.DOTALL | re.MULTILINE
)
_PRIVATE: Final = re.compile(
    r"""
      \b[a-z][a-z0-9+.-]{0,30}://\S+                           # addresses
    | \b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b                     # IPv4
    | \[(?=[0-9a-f]{0,4}:)[0-9a-f:]{2,45}\](?::\d+)?         # IPv6 in brackets
    | \b[\w.-]{1,253}:\d{2,5}\b                                # host:port
    | \b(?:bearer|basic)\s+\S+                                 # credentials
    | \b[\w-]{0,40}?(?:authorization|x-internal-auth|api[-_\ ]?key|secret|passw(?:or)?d|token)[\w-]{0,40}["']?
      \s*[:=]\s*(?:(?:bearer|basic)\s+)?\S+(?:\s+\S{16,})?     # names with a secret behind them
    | \b(?:sk|pk|key)-[\w-]{8,}                                # keys as model servers make them
    | \beyJ[\w-]+\.[\w-]+\.[\w-]*                              # JSON web tokens
    | (?<!\w)/(?:[\w.-]+/){2,}[\w.-]*                          # file paths
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Take addresses, credentials, paths and stack traces out of a text, and shorten it.

    Returns:
        One line of at most ``MAX_ERROR_CHARACTERS``; empty if nothing fit to be shown is left.
    """
    text = text[: 20 * MAX_ERROR_CHARACTERS]
    for secret in secrets:
        text = text.replace(secret, "[removed]")
    text = _PRIVATE.sub("[removed]", _TRACE.sub("", text))
    text = _CONTROL.sub(" ", text).strip()
    if len(text) > MAX_ERROR_CHARACTERS:
        text = text[: MAX_ERROR_CHARACTERS - 1].rstrip() + "…"
    return text
