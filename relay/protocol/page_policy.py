"""The rights of the gateway's pages in a browser (W3C, Content Security Policy Level 3). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

HEADER: Final = "Content-Security-Policy"
Policy = Mapping[str, Sequence[str]]

SELF: Final = "'self'"

# Only scripts in files of ours run, so text that a page renders as markup by mistake does nothing.
PAGE_POLICY: Final[Policy] = {
    "default-src": [SELF],
    "img-src": [SELF, "data:"],
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "form-action": [SELF],
    "frame-ancestors": ["'none'"],
}


def policy_text(policy: Policy) -> str:
    """Write a policy as its header's value."""
    return "; ".join(" ".join([directive, *sources]) for directive, sources in policy.items())


def chat_policy(static_url: str, *, is_framed: bool) -> str:
    """Write the policy of the chat page.

    Args:
        static_url: where its files are, perhaps at another origin.
        is_framed: may a page of the same origin show it in a frame?
    """
    parts = urlsplit(static_url)
    files = [f"{parts.scheme or 'https'}://{parts.netloc}"] if parts.netloc else []
    opened = {name: [*PAGE_POLICY[name], *files] for name in ("default-src", "img-src")}
    ancestors = [SELF] if is_framed else ["'none'"]
    return policy_text({**PAGE_POLICY, **opened, "frame-ancestors": ancestors})
