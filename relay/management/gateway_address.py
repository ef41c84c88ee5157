"""The address of the gateway that a command asks: ``--url``, otherwise the variable ``GATEWAY_URL``."""

from __future__ import annotations

import os
import re
from argparse import ArgumentParser, ArgumentTypeError
from typing import Final

VARIABLE: Final = "GATEWAY_URL"
DEFAULT: Final = "http://127.0.0.1:8000"
_ADDRESS: Final = re.compile(r"(?P<kind>http|ws)(?P<rest>s?://[^/?#].*)")


def add_url(parser: ArgumentParser) -> None:
    """Take the address of a gateway, as ``http://`` or ``ws://``; the option's value starts with ``http``."""
    # A default that is a text is read by ``type`` like any other, so a wrong variable is wrong usage, too.
    default = os.environ.get(VARIABLE) or DEFAULT
    words = f"address of the gateway (default: {VARIABLE}, otherwise {DEFAULT})"
    parser.add_argument("--url", type=_address, default=default, help=words)


def socket_url(url: str) -> str:
    """Return the address of the gateway's sockets."""
    return f"ws{url.removeprefix('http')}"


def _address(text: str) -> str:
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise ArgumentTypeError(
            f"the address ({VARIABLE}, or --url) must begin with http://, https://, ws:// or wss://"
        )
    return f"http{found['rest']}"
