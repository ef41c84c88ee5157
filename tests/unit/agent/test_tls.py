"""Why a TLS handshake with the agent fails, in words for operators."""

import ssl

import pytest

from relay.agent import tls

NOT_TRUSTED = "its certificate is signed by an authority that is not trusted here"
OTHER_HOST = "its certificate is for another host"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (9, "its certificate is not valid yet"),
        (10, "its certificate has expired"),
        (18, "its certificate is self-signed, which is not trusted here"),
        (19, NOT_TRUSTED),
        (20, NOT_TRUSTED),
        (21, NOT_TRUSTED),
        (23, "its certificate was revoked"),
        (62, OTHER_HOST),
        (64, OTHER_HOST),
        (24, "its certificate is not accepted (OpenSSL: 24)"),
    ],
)
def test_a_certificate_that_is_refused(code, cause):
    """The codes are those of X509_V_ERR_… in OpenSSL."""
    exc = ssl.SSLCertVerificationError()
    exc.verify_code = code
    assert str(tls.failure(exc)) == cause


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("WRONG_VERSION_NUMBER", "it answers without TLS"),
        ("HTTP_REQUEST", "it answers without TLS"),
        ("UNKNOWN_PROTOCOL", "it answers without TLS"),
        ("RECORD_LAYER_FAILURE", "it answers without TLS"),
        ("PACKET_LENGTH_TOO_LONG", "it answers without TLS"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "it requires a client certificate that it trusts"),
        ("TLSV1_ALERT_UNKNOWN_CA", "it requires a client certificate that it trusts"),
        ("NO_SHARED_CIPHER", "the TLS handshake fails (OpenSSL: NO_SHARED_CIPHER)"),
    ],
)
def test_a_handshake_that_fails(reason, cause):
    exc = ssl.SSLError()
    exc.reason = reason
    assert str(tls.failure(exc)) == cause
