"""Reading policies apart from what serves: what crosses is what was compiled, and what is in force meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.policy.apart import Apart
from gateway.policy.compile import compile_policies
from gateway.policy.compiled import PolicySet, ProviderFacts
from gateway.policy.files import read
from gateway.policy.frames import LENGTH, Unpacking, pack
from gateway.policy.in_force import PolicyFiles
from gateway.policy.orders import Order, Reading
from gateway.toml import Mistake

SHIPPED = Path(__file__).parents[2] / "policies"
PROVIDERS = {name: ProviderFacts(name, name) for name in ("echo", "openai", "anthropic", "gemini", "up")}
TEAM = """
[tenants.acme]
budget = { usd_per_month = 100 }
[teams.support]
tenant = "acme"
models = ["m"]
request = { force = { store = false, metadata = { a = [1, 2.5, "x"] } }, max = { n = 1 }, deny = ["tools.web_search"] }
limits = { requests_per_minute = 10 }
[redaction.strict]
entities = ["EMAIL_ADDRESS"]
[models.m]
provider = "up"
"""


def key(number: int) -> str:
    return (
        f'[keys.k-{number}]\nhash = "sha256:{number:064x}"\nteam = "support"\nredaction = "strict"\n'
        f"limits = {{ tokens_per_minute = {number + 1} }}\nexpires = 2031-01-01T00:00:00Z\n"
    )


def compiled(text: str) -> PolicySet:
    policy, mistakes, _ = compile_policies({"p.toml": text}, PROVIDERS)
    assert policy is not None, mistakes
    return policy


def crossed(reading: Reading) -> Reading:
    data, unpacking = b"".join(pack(reading)), Unpacking()
    while (length := struct.unpack(">I", data[:LENGTH])[0]) > 0:
        unpacking.feed(data[LENGTH : LENGTH + length])
        data = data[LENGTH + length :]
    assert data == bytes(LENGTH)
    assert unpacking.reading is not None
    return unpacking.reading


def test_what_crosses_is_what_was_compiled() -> None:
    policy = compiled(TEAM + "".join(key(number) for number in range(70)))
    there = crossed(Reading(policy, b"stamp", (), ("a warning",), "why")).policy
    assert there is not None
    assert there.rules == ()
    for name in PolicySet.__dataclass_fields__:
        if name != "rules":
            assert getattr(there, name) == getattr(policy, name), name
    # What the keys share they share still: it is there once, however many they are.
    ours = list(there.keys.values())
    assert len({id(one.redaction) for one in ours}) == len({id(one.request) for one in ours}) == 1
    assert len({id(scope) for one in ours for scope in one.scopes if scope.id == "team:support"}) == 1
    assert len({id(one.team) for one in ours}) == len({id(one.rule.file) for one in ours}) == 1
    assert all(there.by_digest[one.secrets[0].digest] == (one, one.secrets[0]) for one in ours)


def test_a_set_without_keys_says_its_rules_since_a_demo_key_is_numbered_behind_them() -> None:
    policy = compiled(TEAM)
    assert crossed(Reading(policy, b"")).policy == policy


def test_the_shipped_policies_cross_a_process() -> None:
    order = Order(SHIPPED, PROVIDERS, starts=True)
    there, here = Apart(order).finish(), read(order)
    assert here.policy is not None
    assert there.policy is not None
    assert (there.policy.hash, there.policy.models, there.stamp) == (here.policy.hash, here.policy.models, here.stamp)


async def test_mistakes_cross_and_files_that_are_as_they_were_are_not_read_again(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(TEAM)
    first = await Apart(Order(tmp_path, PROVIDERS)).finished()
    assert first.policy is not None
    assert await Apart(Order(tmp_path, PROVIDERS, known=first.stamp)).finished() == Reading(None, first.stamp)
    (tmp_path / "p.toml").write_text(TEAM + "[models.m]\nx = 1\n")
    broken = await Apart(Order(tmp_path, PROVIDERS, known=first.stamp)).finished()
    assert (broken.policy, [mistake.line for mistake in broken.mistakes]) == (None, [13])


def test_the_last_good_files_start_a_process_and_no_more(tmp_path: Path) -> None:
    folder, state = tmp_path / "policies", tmp_path / "state"
    folder.mkdir()
    (folder / "p.toml").write_text(TEAM)
    good = read(Order(folder, PROVIDERS, state))
    (folder / "p.toml").write_text("[models]\nx\n")
    start = read(Order(folder, PROVIDERS, state, starts=True))
    assert (start.policy, start.stamp, len(start.mistakes)) == (good.policy, good.stamp, 1)
    later = read(Order(folder, PROVIDERS, state))
    assert (later.policy, later.mistakes) == (None, start.mistakes)


async def test_a_process_that_is_killed_leaves_a_mistake(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.toml")  # whoever reads it waits for ever
    begun = Apart(Order(tmp_path, PROVIDERS))
    reading = asyncio.ensure_future(begun.finished())
    await asyncio.sleep(0)
    os.kill(begun.pid, signal.SIGKILL)
    assert [mistake.what for mistake in (await reading).mistakes] == [
        "cannot be compiled: the process that reads them was ended by signal 9"
    ]


async def test_a_reading_that_nobody_waits_for_any_more_ends_its_process(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.toml")
    begun = Apart(Order(tmp_path, PROVIDERS))
    reading = asyncio.ensure_future(begun.finished())
    await asyncio.sleep(0.05)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    with pytest.raises(ProcessLookupError):
        os.kill(begun.pid, 0)


class Slow:
    """Reads what stands in `text` when it begins, and ends when it is told."""

    def __init__(self) -> None:
        self.text = ""
        self.begun = 0
        self.go = asyncio.Semaphore(0)

    async def __call__(self, known: bytes) -> Reading:
        self.begun += 1
        text = self.text
        await self.go.acquire()
        if text == "broken":
            return Reading(None, b"", (Mistake("p.toml", 1, "is broken"),))
        return Reading(None, known) if text.encode() == known else Reading(compiled(text), text.encode())


async def following(test: Callable[[PolicyFiles, Slow], Awaitable[None]], tmp_path: Path, first: str = TEAM) -> None:
    slow = Slow()
    files = PolicyFiles(tmp_path, Reading(compiled(first), first.encode()), slow)
    task = asyncio.ensure_future(files.follow())
    try:
        await test(files, slow)
    finally:
        task.cancel()


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_old_set_is_in_force_while_the_new_one_is_read(tmp_path: Path) -> None:
    async def test(files: PolicyFiles, slow: Slow) -> None:
        before, slow.text = files.current, TEAM + key(1)
        asked = asyncio.ensure_future(files.reload())
        await turns()
        assert (slow.begun, files.current, asked.done()) == (1, before, False)
        slow.go.release()
        assert await asked == ()
        assert list(files.current.keys) == ["k-1"]
        assert files.keys.find((1).to_bytes(32, "big")) is not None
        assert before.keys == {}  # what runs on it sees what it saw

    await following(test, tmp_path)


async def test_of_two_quick_edits_the_second_is_in_force_in_the_end(tmp_path: Path) -> None:
    async def test(files: PolicyFiles, slow: Slow) -> None:
        slow.text = TEAM + key(1)
        files.ask()
        await turns()
        slow.text = TEAM + key(2)  # while the first is being read, and asked for many times
        for _ in range(5):
            files.ask()
        later = asyncio.ensure_future(files.reload())
        slow.go.release()
        await turns()
        assert (slow.begun, later.done(), list(files.current.keys)) == (2, False, ["k-1"])
        slow.go.release()
        assert await later == ()
        assert (slow.begun, list(files.current.keys), files.reloads_ok) == (2, ["k-2"], 2)

    await following(test, tmp_path)


async def test_a_mistake_keeps_the_set_and_is_told_to_who_asked(tmp_path: Path) -> None:
    async def test(files: PolicyFiles, slow: Slow) -> None:
        before, slow.text = files.current, "broken"
        slow.go.release()
        assert [str(mistake) for mistake in await files.reload()] == ["p.toml:1: is broken"]
        assert (files.current, len(files.degraded), files.reloads_failed) == (before, 1, 1)
        slow.text = TEAM  # mended: as it was
        slow.go.release()
        assert await files.reload() == ()
        assert (files.current, files.degraded, files.reloads_ok) == (before, (), 1)

    await following(test, tmp_path)


async def test_a_reading_that_cannot_even_begin_is_a_mistake_and_not_the_last_one(tmp_path: Path) -> None:
    """No memory or no process for it, for a moment: what is asked for later, such as to take a key away, is done."""
    fails = [OSError(11, "Resource temporarily unavailable"), RuntimeError("not expected")]

    async def read_(known: bytes) -> Reading:
        if fails:
            raise fails.pop(0)
        return Reading(compiled(TEAM + key(1)), b"new")

    files = PolicyFiles(tmp_path, Reading(compiled(TEAM), b"old"), read_)
    task = asyncio.ensure_future(files.follow())
    try:
        for words in ("cannot be read: Resource temporarily unavailable", "cannot be read: RuntimeError"):
            asked = asyncio.ensure_future(files.reload())
            await turns()
            assert asked.done()
            assert [mistake.what for mistake in asked.result()] == [words]
            assert files.degraded == asked.result()
        assert await files.reload() == ()
        assert (files.degraded, list(files.current.keys), files.reloads_failed) == ((), ["k-1"], 2)
    finally:
        task.cancel()
