"""Signatures, verified by the package of Standard Webhooks."""

import base64
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from relay.conf.parsers import webhook_secrets
from relay.webhooks.signing import signed_headers

ONE, TWO = (f"whsec_{base64.b64encode(secret).decode()}" for secret in (b"1" * 24, bytes(range(64))))
BODY = '{"type":"turn.completed","data":{"subject":"J\u00f6rg"}}'.encode()


def headers(secrets, body=BODY):
    return signed_headers(webhook_secrets().read(secrets), "a1b2", int(time.time()), body)


@pytest.mark.parametrize("secret", [ONE, TWO])
def test_a_receiver_with_the_secret_verifies_it(secret):
    assert Webhook(secret).verify(BODY, headers(secret))["type"] == "turn.completed"


def test_while_secrets_change_receivers_with_either_verify_it():
    sent = headers(f"{ONE}, {TWO}")
    for secret in (ONE, TWO):
        Webhook(secret).verify(BODY, sent)


@pytest.mark.parametrize("change", ["secret", "body", "webhook-id", "webhook-timestamp"])
def test_a_change_breaks_the_signature(change):
    sent, body = headers(TWO if change == "secret" else ONE), BODY
    if change == "body":
        body += b" "
    elif change != "secret":
        sent[change] = sent[change][:-1] + ("0" if sent[change][-1] != "0" else "1")
    with pytest.raises(WebhookVerificationError):
        Webhook(ONE).verify(body, sent)
