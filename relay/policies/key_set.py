"""The public keys of an identity provider (RFC 7517), fetched when they are needed and kept for a while."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

import httpx
import jwt

from relay.exceptions import CredentialUncheckable, Unauthorized
from relay.protocol import json_text
from relay.tasks import FairTimeout, cancel_and_wait

logger = logging.getLogger(__name__)

FRESH_SECONDS: Final = 300.0  # a withdrawn key is trusted no longer than this
STALE_SECONDS: Final = 86_400.0  # while the provider cannot be reached, its last keys are trusted so long
ALGORITHMS: Final = ("RS256", "ES256")  # never "none", and no HMAC: a public key must not verify as a secret
RETRY_SECONDS: Final = 10.0  # between two fetches, whatever keys are asked for: a stranger must not cause more
FETCH_SECONDS: Final = 3.0  # less than a client is kept waiting
MAX_BYTES: Final = 262_144


class KeySet:
    """Keys by their id and algorithm. One fetch at a time, for all connections.

    A fetch is a task of the set, not of the connection that causes it: a client that leaves would end it for all.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: list[jwt.PyJWK] = []
        self._tried_at = float("-inf")
        self._fetched_at = float("-inf")  # when the fetch that gave the keys was sent
        self._fetching: asyncio.Task[None] | None = None

    async def get(self, key_id: str | None, algorithm: str) -> jwt.PyJWK:
        """Return the key of that id, or the only one of that algorithm if a token names none.

        Raises:
            Unauthorized: the provider was asked, and has no such key.
            CredentialUncheckable: the provider could not be asked, or may not be asked again yet; it may have a key
                by now that is not known here.
        """
        asked_at = time.monotonic()
        if asked_at - self._fetched_at > FRESH_SECONDS or self._usable(key_id, algorithm) is None:
            await self._refresh()
        if time.monotonic() - self._fetched_at > STALE_SECONDS:
            raise CredentialUncheckable
        key = self._usable(key_id, algorithm)
        if key is None:
            raise Unauthorized if self._fetched_at >= asked_at else CredentialUncheckable
        return key

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._fetching is not None:
            await cancel_and_wait(self._fetching)

    def _usable(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        fitting = [key for key in self._keys if key.algorithm_name == algorithm and key_id in (None, key.key_id)]
        return fitting[0] if len(fitting) == 1 else None

    async def _refresh(self) -> None:
        """Wait for the fetch that is under way, or for a new one; at once if one was sent a short time ago."""
        if self._fetching is None or self._fetching.done():
            if time.monotonic() - self._tried_at < RETRY_SECONDS:
                return
            self._tried_at = time.monotonic()
            self._fetching = asyncio.create_task(self._fetch(), name="fetch keys")
        await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        sent_at = time.monotonic()
        try:
            self._keys = await fetch_keys(self._url)
            self._fetched_at = sent_at
        except (httpx.HTTPError, TimeoutError, ValueError, jwt.PyJWTError) as exc:
            logger.warning("the keys at GATEWAY__JWKS_URL could not be fetched: %s", type(exc).__name__)


async def fetch_keys(url: str) -> list[jwt.PyJWK]:
    """Fetch the keys that may sign tokens.

    Raises:
        httpx.HTTPError, TimeoutError: there is no answer, or a refusal.
        ValueError, jwt.PyJWTError: the answer is no set of keys.
    """
    return _signing_keys(await _fetch(url))


async def _fetch(url: str) -> bytes:
    """Fetch a document; ``httpx.HTTPError``, ``TimeoutError`` or ``ValueError`` if that fails."""
    headers = {"Accept-Encoding": "identity"}  # nothing is unpacked, so MAX_BYTES bounds memory
    read = bytearray()
    async with (
        FairTimeout(FETCH_SECONDS),
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
