"""Admit clients that present a signed token of the operator's identity provider."""

from __future__ import annotations

from typing import Any, Final

import jwt

from relay.conf import conf
from relay.exceptions import Unauthorized
from relay.layers.limits import Limits
from relay.policies.base import Policy
from relay.policies.handshake import Handshake, Identity
from relay.policies.key_set import ALGORITHMS, KeySet

REQUIRED_CLAIMS: Final = ("exp", "sub")


class JwtPolicy(Policy):
    """Admits JSON Web Tokens (RFC 7519) whose key is in the set at ``JWKS_URL``. ``sub`` is the subject."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._keys = KeySet(conf.jwks_url)

    async def admit(self, handshake: Handshake) -> Identity:
        """Admit the holder of a valid token, until it expires."""
        credential = handshake.credential
        if credential is None:
            raise Unauthorized
        try:
            head = jwt.get_unverified_header(credential)
            algorithm = head.get("alg")
            if algorithm not in ALGORITHMS:
                raise Unauthorized
            key = await self._keys.get(head.get("kid"), algorithm)
            claims = _verified(credential, key)
            return Identity(claims["sub"], float(claims["exp"]) + conf.jwt_leeway_seconds)
        except (jwt.PyJWTError, ValueError, OverflowError) as exc:  # a subject or a number that we cannot use
            raise Unauthorized from exc

    async def close(self) -> None:
        """See ``Policy``."""
        await self._keys.close()


def _verified(credential: str, key: jwt.PyJWK) -> dict[str, Any]:
    """Check signature, times, issuer and audience; claims are any JSON.

    Raises:
        jwt.PyJWTError: one of them is wrong, or missing.
    """
    required = [*REQUIRED_CLAIMS, *(["iss"] if conf.jwt_issuer else []), *(["aud"] if conf.jwt_audience else [])]
    return jwt.decode(
        credential,
        key,
        algorithms=ALGORITHMS,
        issuer=conf.jwt_issuer or None,
        audience=conf.jwt_audience or None,
        leeway=conf.jwt_leeway_seconds,
        options={"require": required, "verify_aud": bool(conf.jwt_audience)},
    )
