"""Signatures of webhooks, as Standard Webhooks describes them
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md). Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable


def signed_headers(secrets: Iterable[bytes], webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers by which a receiver knows a webhook: one signature for each secret.

    Args:
        timestamp: of this attempt, in seconds since 1970.
    """
    signed = b".".join((webhook_id.encode(), str(timestamp).encode(), body))
    signatures = (base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode() for secret in secrets)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
