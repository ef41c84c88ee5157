"""The extras of the distribution: whether the packages of one are installed, and how to get them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

_MODULES: Final = {
    "postgres": ("psycopg",),
    "redis": ("channels_redis", "hiredis", "redis"),
    "serve": ("corsheaders", "daphne", "servestatic"),
    "tracing": ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"),
}
_PINS: Final = {"tracing": "requirements-tracing.txt"}  # of a checkout; the other extras are in requirements.txt


def is_installed(extra: str) -> bool:
    """Are the packages of an extra installed?"""
    return all(_is_there(module) for module in _MODULES[extra])


def how_to_install(extra: str) -> str:
    """Say how to install an extra, with the wheel and in a checkout."""
    pins = _PINS.get(extra, "requirements.txt")
    return f"pip install 'agent-gateway[{extra}]', or in a checkout: pip install -r {pins}"


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False
