"""Makes the agent's own error text fit for clients. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

MAX_ERROR_CHARACTERS: Final = 500  # a person reads a sentence or two, not a page
MAX_READ_CHARACTERS: Final = 8 * MAX_ERROR_CHARACTERS  # of an error's text; the rest is dropped unread

# A search must take time in proportion to the text, also to a hostile one. So a repeat without a bound starts only
# where a run of its characters starts, or behind a part that such a run does not hold; every other repeat has a bound.
_TRACE: Final = re.compile(
    r"(Traceback \(most recent call last\)|^[ \t]*File \"|^[ \t]+at \S[^(:\n]*[(:]).*", re.DOTALL | re.MULTILINE
)
_PRIVATE: Final = re.compile(
    r"""
      \b[a-z][a-z0-9+.-]{0,30}://\S+                           # addresses
    | \b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b                     # IPv4
    | \[(?=[0-9a-f]{0,4}:)[0-9a-f:]{2,45}\](?::\d+)?         # IPv6 in brackets
    | (?<![\w.-])[\w.-]+:\d{2,5}\b                             # host:port
    | \b(?:bearer|basic)\s+\S+                                 # credentials
    | (?<![\w-])(?:(?=[\w-]*(?:authorization|x-internal-auth|api[-_]?key|secret|passw(?:or)?d|token))
                   |[\w-]*api\ (?=key))
      [\w-]+["']?\s*[:=]\s*["']?(?:(?:bearer|basic)\s+)?\S+(?:\s+\S{16,})?   # names with a secret behind them
    | \b(?:(?:sk|pk|key|xai|nvapi)-|(?:sk|gsk|hf)_|AIza|AKIA)[\w-]{8,}    # keys as model servers make them
    | (?<![\w-])(?=(?:[\w-]*-)?eyJ)[\w-]+\.[\w-]+\.[\w-]*      # JSON web tokens
    | (?<!\w)/(?:[\w.-]+/){2,}[\w.-]*                          # file paths
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Remove addresses, credentials, paths and stack traces from a text, and shorten it.

    Returns:
        One line of at most ``MAX_ERROR_CHARACTERS``; empty if nothing is left.
    """
    for secret in secrets:
        text = text.replace(secret, "[removed]")
    text = text[:MAX_READ_CHARACTERS]
    text = _PRIVATE.sub("[removed]", _TRACE.sub("", text))
    text = _CONTROL.sub(" ", text).strip()
    if len(text) > MAX_ERROR_CHARACTERS:
        text = text[: MAX_ERROR_CHARACTERS - 1].rstrip() + "…"
    return text
