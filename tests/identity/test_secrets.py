"""How secrets are made, sent and kept."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.secrets import digest_of, hash_secret, new_key_id, new_secret, parse_hash, presented


@pytest.mark.parametrize(
    ("headers", "secret"),
    [
        ({"authorization": "Bearer gw-a"}, "gw-a"),
        ({"authorization": "bearer gw-a"}, "gw-a"),
        ({"authorization": "BEARER   gw-a  "}, "gw-a"),
        ({"x-api-key": "gw-a"}, "gw-a"),
        ({"api-key": " gw-a "}, "gw-a"),
        ({"authorization": "Bearer gw-a", "x-api-key": "gw-a"}, "gw-a"),
        ({"authorization": "Basic dXNlcjpw", "x-api-key": "gw-a"}, "gw-a"),
        ({"authorization": "Bearer ", "api-key": "gw-a"}, "gw-a"),
        ({}, None),
        ({"authorization": ""}, None),
        ({"authorization": "Bearer"}, None),
        ({"authorization": "gw-a"}, None),
        ({"authorization": "Basic gw-a"}, None),
        ({"x-api-key": "  "}, None),
        ({"authorization": "Bearer gw-a", "x-api-key": "gw-b"}, None),
        ({"authorization": "Bearer gw-a", "api-key": "gw-b"}, None),
        ({"x-api-key": "gw-a", "api-key": "gw-b"}, None),
    ],
)
def test_what_a_request_presents(headers: dict[str, str], secret: str | None) -> None:
    assert presented(headers) == secret


@given(st.binary(min_size=32, max_size=32))
def test_a_secret_is_all_of_its_random_bits_in_safe_characters(random: bytes) -> None:
    secret = new_secret(random)
    assert re.fullmatch(r"gw-[A-Za-z0-9_-]{43}", secret)
    assert base64.urlsafe_b64decode(secret[3:] + "=") == random
    assert parse_hash(hash_secret(secret)) == digest_of(secret)


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_secret_of_less_randomness_is_not_made(size: int) -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        new_secret(bytes(size))
    with pytest.raises(ValueError, match="6 random bytes"):
        new_key_id(bytes(size))


def test_a_key_id_is_readable() -> None:
    assert new_key_id(bytes.fromhex("7f3a00010203")) == "k_7f3a00010203"


def test_the_hash_is_that_of_litellms_table() -> None:
    assert hash_secret("sk-1234") == "sha256:" + hashlib.sha256(b"sk-1234").hexdigest()


def test_bytes_that_are_no_text_are_hashed_as_the_bytes_they_are() -> None:
    assert digest_of(b"\xff\x00".decode("utf-8", "surrogateescape")) == hashlib.sha256(b"\xff\x00").digest()


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "A" * 64, "sha256:" + "0" * 63, "md5:" + "0" * 64, "0" * 64]
)
def test_what_is_no_hash(text: str) -> None:
    assert parse_hash(text) is None
