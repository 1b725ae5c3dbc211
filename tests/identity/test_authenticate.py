"""Who calls, and what somebody who guesses can learn: nothing."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Reason, Refusal, Rule
from gateway.fields import Fields
from gateway.identity import authenticate as room
from gateway.identity.authenticate import INVALID, Directory, authenticate
from gateway.identity.principal import Principal
from gateway.identity.secrets import digest_of
from gateway.policy.compiled import Key, KeySecret

RULE = Rule(1, "keys.bot", "keys.toml", 1)
THEN = datetime(2027, 1, 1, tzinfo=UTC)
NOW = (THEN - timedelta(days=1)).timestamp()


def directory(*secrets: tuple[str, datetime | None], expires: datetime | None = None) -> Directory:
    kept = tuple(KeySecret(f"s{n}", digest_of(text), until, RULE) for n, (text, until) in enumerate(secrets))
    key = Key("bot", "k_1", kept, RULE, expires=expires)
    return Directory({secret.digest: (key, secret) for secret in kept})


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def test_a_right_secret_gives_its_key_and_says_which_secret_it_was() -> None:
    keys = directory(("gw-old", None), ("gw-new", THEN))
    for secret, secret_id in (("gw-old", "s0"), ("gw-new", "s1")):
        who = authenticate(bearer(secret), keys, NOW)
        assert isinstance(who, Principal)
        assert (who.key.id, who.secret_id) == ("k_1", secret_id)


REFUSED = {
    "unknown": ("gw-x", directory(("gw-a", None))),
    "nobody has a key": ("gw-x", directory()),
    "one character off": ("gw-aa", directory(("gw-a", None))),
    "expired secret": ("gw-a", directory(("gw-a", THEN - timedelta(days=2)))),
    "secret expires now": ("gw-a", directory(("gw-a", datetime.fromtimestamp(NOW, UTC)))),
    "expired key": ("gw-a", directory(("gw-a", None), expires=THEN - timedelta(days=2))),
    "expired key, secret alive": ("gw-a", directory(("gw-a", THEN), expires=THEN - timedelta(days=2))),
}


@pytest.mark.parametrize("case", REFUSED)
def test_every_no_is_the_same_no(case: str) -> None:
    secret, keys = REFUSED[case]
    assert authenticate(bearer(secret), keys, NOW) == Refusal(Reason.INVALID_KEY, "Incorrect API key provided.")


class Recorded:
    """A comparison that is counted, in the place of the standard library's."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def compare_digest(self, one: bytes, other: bytes) -> bool:
        self.sizes.append((len(one), len(other)))
        return hmac.compare_digest(one, other)


@pytest.mark.parametrize("case", REFUSED)
def test_every_no_costs_one_comparison_of_whole_digests(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded()
    monkeypatch.setattr(room, "hmac", recorded)
    secret, keys = REFUSED[case]
    authenticate(bearer(secret), keys, NOW)
    assert recorded.sizes == [(32, 32)]


def test_a_directory_that_answers_wrongly_does_not_open_the_door() -> None:
    class Confused:
        era = object()

        def find(self, digest: bytes) -> tuple[Key, KeySecret] | None:
            return directory(("gw-a", None)).find(digest_of("gw-a"))

    assert isinstance(authenticate(bearer("gw-b"), Confused(), NOW), Refusal)


def again(secret: str) -> Fields:
    """A head that comes again and again."""
    fields = Fields()
    fields.update(bearer(secret))
    return fields


def test_who_comes_again_is_known_and_not_looked_up() -> None:
    keys, head = directory(("gw-a", None)), again("gw-a")
    first = authenticate(head, keys, NOW)
    assert isinstance(first, Principal)
    assert authenticate(head, keys, NOW + 1) is first


def test_who_comes_again_is_not_known_once_the_keys_have_changed() -> None:
    head = again("gw-a")
    assert isinstance(authenticate(head, directory(("gw-a", None)), NOW), Principal)
    assert authenticate(head, directory(("gw-b", None)), NOW) == INVALID
    moved = authenticate(head, directory(("gw-b", None), ("gw-a", None)), NOW)
    assert isinstance(moved, Principal)
    assert moved.secret_id == "s1"


@pytest.mark.parametrize("which", ["key", "secret"])
def test_who_comes_again_is_refused_from_the_moment_on_at_which_it_expires(which: str) -> None:
    keys = directory(("gw-a", THEN), expires=THEN + timedelta(days=9))
    if which == "key":
        keys = directory(("gw-a", THEN + timedelta(days=9)), expires=THEN)
    head, moment = again("gw-a"), THEN.timestamp()
    for now, known in ((moment - 1, True), (moment, False), (moment - 0.001, True), (moment + 1, False)):
        assert isinstance(authenticate(head, keys, now), Principal) == known


def test_who_was_refused_is_looked_up_again() -> None:
    head = again("gw-a")
    assert authenticate(head, directory(), NOW) == INVALID
    assert isinstance(authenticate(head, directory(("gw-a", None)), NOW), Principal)


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer gw-a", "x-api-key": "gw-b"}])
def test_no_credential_or_two_is_said_in_other_words(headers: dict[str, str]) -> None:
    refusal = authenticate(headers, directory(("gw-a", None), ("gw-b", None)), NOW)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.INVALID_KEY
    assert "x-api-key" in refusal.message


@given(st.text(max_size=60))
def test_no_refusal_repeats_what_was_presented(secret: str) -> None:
    refusal = authenticate(bearer("canary" + secret), directory(("gw-a", None)), NOW)
    assert isinstance(refusal, Refusal)
    assert "canary" not in repr(refusal)


@given(st.floats(min_value=0, max_value=4e9))
def test_a_key_lives_until_its_moment_and_not_in_it(now: float) -> None:
    who = authenticate(bearer("gw-a"), directory(("gw-a", None), expires=THEN), now)
    assert isinstance(who, Principal) == (now < THEN.timestamp())
