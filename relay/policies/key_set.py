"""The public keys of an identity provider (RFC 7517), fetched when they are needed and kept for a while."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

import httpx
import jwt

from relay import json_text
from relay.exceptions import CredentialUncheckable, Unauthorized

logger = logging.getLogger(__name__)

FRESH_SECONDS: Final = 300.0  # a key that was withdrawn counts no longer than this
STALE_SECONDS: Final = 86_400.0  # while the provider cannot be reached, its last keys count so long
ALGORITHMS: Final = ("RS256", "ES256")  # never "none", and no HMAC: a public key must not verify as a secret
RETRY_SECONDS: Final = 10.0  # between two fetches, whatever keys are asked for: a stranger must not cause more
FETCH_SECONDS: Final = 3.0  # less than a client is kept waiting
MAX_BYTES: Final = 262_144


class KeySet:
    """Keys by their id. One fetch at a time, however many ask."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: list[jwt.PyJWK] = []
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def find(self, key_id: str | None) -> jwt.PyJWK:
        """Give the key of that id, or the only key if a token names none.

        Raises:
            Unauthorized: there is no such key.
            CredentialUncheckable: the keys cannot be fetched, and the last ones are too old.
        """
        if self._age_seconds() > FRESH_SECONDS or self._known(key_id) is None:
            await self._refresh()
        if self._age_seconds() > STALE_SECONDS:
            raise CredentialUncheckable
        key = self._known(key_id)
        if key is None:
            raise Unauthorized
        return key

    def _age_seconds(self) -> float:
        return time.monotonic() - self._fetched_at

    def _known(self, key_id: str | None) -> jwt.PyJWK | None:
        fitting = [key for key in self._keys if key_id is None or key.key_id == key_id]
        return fitting[0] if len(fitting) == 1 else None

    async def _refresh(self) -> None:
        """Fetch the keys, unless somebody has just tried."""
        async with self._fetching:
            if time.monotonic() - self._tried_at < RETRY_SECONDS:
                return
            self._tried_at = time.monotonic()
            try:
                self._keys = _signing_keys(await _fetch(self._url))
                self._fetched_at = time.monotonic()
            except (httpx.HTTPError, TimeoutError, ValueError, jwt.PyJWTError) as exc:
                logger.warning("the keys at GATEWAY__JWKS_URL could not be fetched: %s", type(exc).__name__)


async def _fetch(url: str) -> bytes:
    """Read what is at an address; ``httpx.HTTPError``, ``TimeoutError`` or ``ValueError`` if that fails."""
    headers = {"Accept-Encoding": "identity"}  # nothing is unpacked: what is small stays small
    read = bytearray()
    async with (
        asyncio.timeout(FETCH_SECONDS),
        httpx.AsyncClient(trust_env=False, headers=headers) as http,
        http.stream("GET", url) as response,
    ):
        response.raise_for_status()  # a redirect is an error too: keys come from where the operator said
        async for chunk in response.aiter_raw():
            read += chunk
            if len(read) > MAX_BYTES:
                raise ValueError("too large")
    return bytes(read)


def _signing_keys(document: bytes) -> list[jwt.PyJWK]:
    """Read the keys that may sign tokens; unusable ones are left out."""
    fields: Any = json_text.decode(document)
    if not isinstance(fields, dict):
        raise ValueError("not a key set")
    keys = jwt.PyJWKSet.from_dict(fields).keys
    return [key for key in keys if key.public_key_use in (None, "sig") and key.algorithm_name in ALGORITHMS]
