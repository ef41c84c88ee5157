"""TLS to the agent: the certificates that are trusted and shown, and why a handshake fails, in words."""

from __future__ import annotations

import ssl
from typing import Final

import httpx

from relay.conf import conf

# OpenSSL's codes for a refused certificate, and its reasons where a server answers a TLS handshake without TLS.
_CERTIFICATE_CAUSES: Final = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is self-signed, which is not trusted here",
    19: "its certificate is signed by an authority that is not trusted here",
    20: "its certificate is signed by an authority that is not trusted here",
    21: "its certificate is signed by an authority that is not trusted here",
    23: "its certificate was revoked",
    62: "its certificate is for another host",
    64: "its certificate is for another host",
}
_PLAIN_REASONS: Final = frozenset(
    ["WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"]
)
NO_TLS: Final = "it answers without TLS"
_CERTIFICATE_WANTED: Final = frozenset(["TLSV13_ALERT_CERTIFICATE_REQUIRED", "TLSV1_ALERT_UNKNOWN_CA"])
NO_CLIENT_CERT: Final = "it requires a client certificate that it trusts"
NO_HANDSHAKE: Final = "it does not answer a TLS handshake, so it may not speak TLS"


class TlsFailed(httpx.ConnectError):
    """The server accepts connections, but no TLS connection to it can be trusted. The text is the cause, without any
    address."""


def client_context() -> ssl.SSLContext:
    """Return the context of connections to the agent.

    It trusts the system's authorities (OpenSSL: also those in the file that ``SSL_CERT_FILE`` names) and those of
    ``AGENT_CA``, and shows the certificate of ``AGENT_CLIENT_CERT`` to an agent that asks for one.
    """
    context = ssl.create_default_context()
    if conf.agent_ca:
        context.load_verify_locations(cadata=conf.agent_ca)
    if conf.agent_client_cert:
        context.load_cert_chain(conf.agent_client_cert)
    return context


def failure(exc: ssl.SSLError) -> TlsFailed:
    """Return the error for a failed handshake."""
    return TlsFailed(_cause(exc))


def _cause(exc: ssl.SSLError) -> str:
    """Describe why a TLS handshake failed, in words that continue "the agent is there, but"."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _CERTIFICATE_CAUSES.get(exc.verify_code, f"its certificate is not accepted (OpenSSL: {exc.verify_code})")
    if exc.reason in _PLAIN_REASONS:
        return NO_TLS
    if exc.reason in _CERTIFICATE_WANTED:
        return NO_CLIENT_CERT
    return f"the TLS handshake fails (OpenSSL: {exc.reason})"
