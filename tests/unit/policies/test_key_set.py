"""Which keys of an identity provider's set may sign tokens."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from relay.policies import key_set
from relay.policies.key_set import KeySet

RSA = RSAAlgorithm.to_jwk(rsa.generate_private_key(public_exponent=65_537, key_size=2_048).public_key(), as_dict=True)
EC = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
EC_384 = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True)
SECRET = {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}


def kept(*keys):
    return key_set._signing_keys(json.dumps({"keys": keys}).encode())


@pytest.mark.parametrize("key", [RSA, EC, {**RSA, "use": "sig"}, {**EC, "use": "sig"}, {**RSA, "alg": "RS256"}])
def test_a_key_that_signs_is_kept(key):
    assert [one.key_id for one in kept({**key, "kid": "a"})] == ["a"]


@pytest.mark.parametrize(
    "key",
    [{**RSA, "use": "enc"}, {**EC, "use": "enc"}, EC_384, {**RSA, "alg": "RS512"}, {**RSA, "alg": "PS256"}, SECRET],
    ids=["RSA for encryption", "EC for encryption", "ES384", "RS512", "PS256", "HMAC"],
)
def test_a_key_that_does_not_is_left_out(key):
    assert [one.key_id for one in kept({**key, "kid": "a"}, {**EC, "kid": "b"})] == ["b"]


@pytest.mark.parametrize("document", [b"[]", b"7", b'"keys"', b"null", b"{", b""])
def test_what_is_no_key_set_is_an_error(document):
    with pytest.raises(ValueError):
        key_set._signing_keys(document)


@pytest.mark.parametrize(
    ("key_id", "algorithm", "found"),
    [
        ("a", "ES256", "a"),
        ("b", "ES256", "b"),
        ("c", "RS256", "c"),
        (None, "RS256", "c"),
        (None, "ES256", None),  # two fit, and which one is meant must not be guessed
        ("a", "RS256", None),
        ("d", "ES256", None),
    ],
)
def test_a_key_is_found_by_its_id_and_algorithm(key_id, algorithm, found):
    known = KeySet("https://idp.example/keys")
    known._keys = kept({**EC, "kid": "a"}, {**EC, "kid": "b"}, {**RSA, "kid": "c"})
    key = known._usable(key_id, algorithm)
    assert (key and key.key_id) == found
