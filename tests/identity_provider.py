"""An identity provider: a real HTTP server with a set of public keys, and the tokens that go with them."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.tcp_server import TcpServer

ISSUER, AUDIENCE = "https://idp.example", "gateway"


@functools.cache
def _keys() -> dict[str, Any]:
    return {
        "rsa": rsa.generate_private_key(public_exponent=65_537, key_size=2_048),
        "ec": ec.generate_private_key(ec.SECP256R1()),
        "new": ec.generate_private_key(ec.SECP256R1()),
    }


class IdentityProvider:
    """``keys`` are the private ones by their id, ``published`` names those in the set, ``status`` is the answer's."""

    def __init__(self) -> None:
        self.keys = _keys()
        self.published = ["rsa", "ec"]
        self.status = 200
        self.fetches = 0
        self.is_answering = asyncio.Event()  # clear it, and a fetch waits
        self.is_answering.set()
        self._server = TcpServer(self._answer)

    @property
    def url(self) -> str:
        return f"{self._server.url}/keys"

    async def __aenter__(self) -> Self:
        self._server.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.__aexit__()

    async def asked(self, times: int) -> None:
        """Wait until the keys were asked for so many times."""
        async with asyncio.timeout(60):
            while self.fetches < times:
                await asyncio.sleep(0.01)

    def token(self, key_id: str = "ec", seconds: float = 60, *, names_key: bool = True, **claims: Any) -> str:
        """A token; a claim that is ``None`` is left out."""
        now = time.time()
        all_claims = {"sub": "ada", "iss": ISSUER, "aud": AUDIENCE, "exp": now + seconds, "iat": now, **claims}
        kept = {name: value for name, value in all_claims.items() if value is not None}
        algorithm = "RS256" if key_id == "rsa" else "ES256"
        return jwt.encode(kept, self.keys[key_id], algorithm=algorithm, headers={"kid": key_id} if names_key else None)

    def document(self) -> str:
        return json.dumps({"keys": [self._public(key_id) for key_id in self.published]})

    def _public(self, key_id: str) -> dict[str, Any]:
        algorithm = jwt.algorithms.RSAAlgorithm if key_id == "rsa" else jwt.algorithms.ECAlgorithm
        return {**algorithm.to_jwk(self.keys[key_id].public_key(), as_dict=True), "kid": key_id, "use": "sig"}

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.fetches += 1
        await self.is_answering.wait()
        body = self.document().encode()
        head = f"HTTP/1.1 {self.status} Scripted\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        writer.close()
        await writer.wait_closed()
