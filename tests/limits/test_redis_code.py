"""What is sent to Redis is a command of as many arguments as it says, whatever they hold."""

from __future__ import annotations

import hiredis
from hypothesis import given
from hypothesis import strategies as some
from msgspec import msgpack, structs

from gateway.limits.ledger import LARGEST, LEASE
from gateway.limits.redis_code import (
    ADMIT,
    Script,
    admission,
    bulk,
    charged,
    closing,
    closing_all,
    form_of,
    keys_of,
    plans_of,
    renewing,
    row_in,
)
from gateway.limits.scopes import Charge, Lease
from tests.limit_trial import claim, limit, scope

NOW = 1_796_079_000_000_000
SCRIPT = Script(b"", b"0" * 40)
TEXTS = some.text(max_size=20)
AMOUNTS = some.integers(-5, 2**60)


def read(count: int, keyed: bytes) -> list[bytes]:
    """A command as a server reads it, from the number of keys on."""
    reader = hiredis.Reader()
    reader.feed(SCRIPT.evalsha(count, keyed))
    command = reader.gets()
    assert reader.gets() is False, "and nothing behind it"
    assert command[:2] == [b"EVALSHA", SCRIPT.sha]
    return list(command[2:])


def counted(amount: int) -> bytes:
    return b"%d" % min(max(0, amount), LARGEST)


def padded(amount: int) -> bytes:
    return counted(amount).rjust(16, b"0")


@given(TEXTS, TEXTS, TEXTS, AMOUNTS, AMOUNTS, some.none() | AMOUNTS, some.sampled_from((b"", b"12345")))
def test_an_admission(
    request: str, tenant: str, name: str, tokens: int, nano_usd: int, first: int | None, given: bytes
) -> None:
    scopes = (scope(name, limit("rpm", 5)), scope("team:é", limit("usd", 7)))
    wanted = structs.replace(
        claim(request, *scopes, tokens=tokens, nano_usd=nano_usd), first_tokens=first, row="k|t||m"
    )
    keys = keys_of(tenant)
    form = form_of(keys, SCRIPT, plans_of(keys, wanted.scopes, NOW), wanted, len(request.encode()), NOW)
    arguments = form, wanted, request.encode(), bulk(given), b"a process of our", 0xABC, ADMIT
    keyed = admission(*arguments)
    assert admission(*arguments, form.head) == SCRIPT.evalsha(form.count, keyed)
    said = read(form.count, keyed)
    scope_keys = [keys.prefix + b"s:" + one.id.encode() for one in scopes]
    assert said[:7] == [
        b"6", keys.prefix + b"lz", keys.prefix + b"lh", keys.prefix + b"t:" + request.encode(), keys.prefix + b"e",
        *scope_keys,
    ]  # fmt: skip
    assert said[7:16] == [
        request.encode(), padded(tokens), padded(nano_usd), b"%d" % LEASE, given, b"a process of our0000000000000abc",
        b"admit", padded(tokens if first is None else first), padded(nano_usd),
    ]  # fmt: skip
    assert msgpack.decode(said[16]) == [f"{keys.prefix.decode()}u:20261130", "k|t||m"]
    assert [msgpack.decode(one)[3][0][2] for one in said[17:]] == [5, 7]


@given(TEXTS, TEXTS, some.lists(some.tuples(TEXTS, AMOUNTS, AMOUNTS, some.integers(0, 1)), min_size=1, max_size=4))
def test_settlements_of_one_call(tenant: str, name: str, closed: list[tuple[str, int, int, int]]) -> None:
    keys = keys_of(tenant)
    scopes = [(scope(name, limit("rpm", 5)),), (scope("team:é", limit("usd", 7)), scope("b", limit("rpm", 5)))]
    plans = [plans_of(keys, one, NOW) for one in scopes]
    told = [(request, *charged(Charge(tokens, nano, requests))) for request, tokens, nano, requests in closed]
    ids = [[keys.prefix + b"s:" + one.id.encode() for one in each] for each in scopes]
    for several, scope_keys in ((plans, ids[0] + ids[1]), (plans[:1], ids[0]), (plans[1:], ids[1])):
        said = read(*closing_all(keys, several, "life-é", told, b"9"))
        assert said[:5] == [b"%d" % (4 + len(scope_keys)), *[keys.prefix + one for one in (b"lz", b"lh", b"t:", b"e")]]
        assert said[5:-3] == scope_keys
        assert said[-3:-1] == [b"9", "life-é".encode()]
        assert msgpack.decode(said[-1]) == [
            [request, int(counted(tokens)), int(counted(nano)), requests] for request, tokens, nano, requests in closed
        ]


@given(TEXTS, AMOUNTS, some.text(max_size=5))
def test_a_settlement_by_itself(request: str, tokens: int, epoch: str) -> None:
    wanted = claim(request, scope("key:a", limit("rpm", 5)))
    keys = keys_of("acme")
    plans, lease = plans_of(keys, wanted.scopes, NOW), Lease(wanted, (), epoch=epoch)
    said = read(*closing(keys, lease, plans, charged(Charge(tokens, 3)), b"", row_in(keys, wanted, NOW)))
    assert said[3] == keys.prefix + b"t:" + request.encode()
    assert said[6:12] == [request.encode(), counted(tokens), b"3", b"1", b"", b"final"]
    assert (said[12], len(said)) == (epoch.encode(), 17)


@given(some.lists(TEXTS, min_size=1, max_size=5))
def test_renewals(requests: list[str]) -> None:
    keys = keys_of("acme")
    *head, packed = read(*renewing(keys, requests, b"9"))
    assert head == [b"2", keys.prefix + b"lz", keys.prefix + b"t:", b"9", b"%d" % LEASE]
    assert msgpack.decode(packed) == requests
