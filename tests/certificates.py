"""Certificates for tests, made on the spot."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def certificate(path: Path, *, name: str = "localhost", days: tuple[int, int] = (0, 1)) -> ssl.SSLContext:
    """Write a certificate that vouches for itself, and give what a server needs to show it.

    ``days``: from when to when it is valid, from now.
    """
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string(f"CN={name}")
    now = datetime.datetime.now(datetime.UTC)
    since, until = (now + datetime.timedelta(days=number) for number in days)
    alternative = x509.SubjectAlternativeName([x509.DNSName(name)])
    unsigned = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    unsigned = unsigned.not_valid_before(since).not_valid_after(until)
    signed = unsigned.add_extension(alternative, critical=False).sign(key, hashes.SHA256())
    encoding = serialization.Encoding.PEM
    shown = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(signed.public_bytes(encoding) + shown)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
