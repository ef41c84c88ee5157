"""JSON text that may hold half a character.

JavaScript cuts strings between UTF-16 units, so an agent may send one emoji as two tokens, ``"\\ud83d"`` and
``"\\ude00"``. RFC 8259 §8.2 allows such text and leaves its meaning open. Here it passes unchanged: half a pair, which
cannot be UTF-8, stays a ``\\u`` escape, and a browser that joins both tokens sees the emoji.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

import msgspec

_MAX_DIGITS: Final = 309  # of the largest number that JavaScript holds

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


def decode(text: str | bytes) -> Any:
    """Parse JSON strictly: no NaN, no infinity, no number out of range.

    Returns:
        Any JSON value, so ``Any``: the caller looks at its type.

    Raises:
        ValueError: the text is not JSON, or nested deeper than the parser goes.
    """
    try:
        return _decoder.decode(text)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc
    except (msgspec.DecodeError, UnicodeError) as exc:
        if not _has_surrogate_escape(text):
            raise ValueError("not JSON") from exc
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite_float)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def decode_leniently(text: str) -> Any:
    """Parse JSON as ``decode`` does, but a number that is not JSON, or out of range, becomes ``None``.

    Returns:
        Any JSON value, so ``Any``: the caller looks at its type.

    Raises:
        ValueError: the text is otherwise not JSON, or nested deeper than the parser goes.
    """
    try:
        return decode(text)
    except ValueError:
        pass
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_float_or_none, parse_int=_int_or_none)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def encode(value: Any) -> str:
    """Write a JSON value as compact text; lone surrogates as ``\\u`` escapes. ``Any``: every JSON value."""
    try:
        return _encoder.encode(value).decode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)


def encode_string(text: str) -> str:
    """Encode text as it stands between the quotes of a JSON string. Encoded pieces may be joined."""
    return encode(text)[1:-1]


def _has_surrogate_escape(text: str | bytes) -> bool:
    lowered = text.lower()
    return (b"\\ud" in lowered) if isinstance(lowered, bytes) else ("\\ud" in lowered)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite_float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("number out of range")
    return number


def _no_number(name: str) -> None:
    return None


def _float_or_none(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _int_or_none(text: str) -> int | None:
    return int(text) if len(text) <= _MAX_DIGITS else None
