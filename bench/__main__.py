"""`python -m bench`: all systems on the same work, in interleaved rounds, and RESULTS.md with its plot.

CPU is that of a system's whole process tree. Ratios to nginx in the same round are the figures; absolute microseconds
depend on the machine and on what else it does.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from bench import peers, store, tokens
from bench.measures import NotMeasured, Result
from bench.processes import Running, chat_once, gateway, nginx, redis_server, upstream
from bench.results import Facts, goals, table, write
from bench.rows import CONTROL, OURS, Plan, Row, rows
from bench.sets import KEY, everything_policies, plain_policies, ruled_policies

HERE = Path(__file__).parent
LONGEST = 840.0  # seconds after which no further round begins; the whole is to take 15 minutes at most

Found = dict[str, dict[str, list[Result]]]


class Bench:
    """The systems of one run: those that some row needs, each started once."""

    def __init__(self, stack: ExitStack, folder: Path, facts: Facts, plan: Plan) -> None:
        self._stack = stack
        self._folder = folder
        self._facts = facts
        self._plan = plan
        self.systems: dict[str, Running] = {}
        self.idle: dict[str, float] = {}
        self.provider = stack.enter_context(upstream())
        self._redis: int | None = None

    @property
    def redis(self) -> int:
        """The port of the run's Redis."""
        if self._redis is None:
            self._redis = self._stack.enter_context(redis_server(self._folder))
        return self._redis

    def start(self, name: str) -> None:
        """Start a system and see that it answers; where it cannot be had, that is said in the results."""
        make = self._ways().get(name)
        if make is None:
            peer = next(one for one in peers.PEERS if one.name == name.removesuffix("-redis"))
            if not peer.installed:
                self._facts.missing.append(f"{name}: not installed (`make bench-peers`)")
                return
            redis = self.redis if name.endswith("-redis") else None

            def make() -> Running:
                way = peers.running(peer, self._folder / name, self.provider.port, redis=redis, name=name)
                return self._stack.enter_context(way)

        try:
            system = make()
        except SystemExit as error:
            self._facts.missing.append(f"{name}: {error}")
            return
        self.idle[name] = max(system.memory().values())
        body = {"model": "bench", "messages": [{"role": "user", "content": "hello"}]}
        if (status := chat_once(system.port, KEY, body, system.headers)) != 200:
            self._facts.missing.append(f"{name}: answers {status}")
            return
        self.systems[name] = system

    def _ways(self) -> Mapping[str, Callable[[], Running]]:
        def ours(
            name: str, policies: Mapping[str, str], *, redis: bool = False, more: str = ""
        ) -> Callable[[], Running]:
            def make() -> Running:
                store = f"redis://127.0.0.1:{self.redis}/0" if redis else "memory://"
                way = gateway(name, self._folder / name, self.provider.port, policies, store=store, more=more)
                return self._stack.enter_context(way)

            return make

        return {
            CONTROL: lambda: self._stack.enter_context(nginx(self._folder, self.provider.port)),
            "plain": ours("plain", plain_policies()),
            "plain-keys": ours("plain-keys", plain_policies(self._plan.keys)),
            "most-keys": ours("most-keys", plain_policies(10 * self._plan.keys)),
            "one-rule": ours("one-rule", ruled_policies(1)),
            "many-rules": ours("many-rules", ruled_policies(self._plan.rules)),
            "everything": ours("everything", everything_policies(), redis=True),
            "limits": ours("limits", everything_policies(redaction=False), redis=True),
            "two": ours("two", everything_policies(redaction=False), redis=True, more="workers = 2"),
        }


def run(plan: Plan, wanted: list[Row], facts: Facts) -> tuple[Found, Bench]:
    """Rounds over all works; in each, every system in turn, nginx first."""
    until = time.monotonic() + LONGEST
    found: Found = {row.name: {} for row in wanted}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        bench = Bench(stack, folder, facts, plan)
        for name in dict.fromkeys(name for row in wanted for name in row.systems):
            bench.start(name)
        if CONTROL not in bench.systems:
            raise SystemExit("nginx does not run, and without it there is nothing to compare with")
        for number in range(plan.rounds):
            if time.monotonic() > until:
                facts.missing.append(f"rounds after the first {number}: the time was up")
                break
            for row in wanted:
                for turn in range(row.turns):
                    _measure(bench, row, found[row.name], facts, number * row.turns + turn)
        _memory(bench, found, facts)
    return found, bench


def _measure(bench: Bench, row: Row, found: dict[str, list[Result]], facts: Facts, number: int) -> None:
    others = row.systems[1:]
    for name in (CONTROL, *(others if number % 2 == 0 else reversed(others))):  # who comes first in turns as well
        system = bench.systems.get(name)
        if system is None or (number and name not in found):
            continue
        try:
            result = row.measure(system)
        except NotMeasured as error:
            facts.missing.append(f"{row.work}, {name}, round {number + 1}: {error}")
            if name == CONTROL:
                return
            continue
        found.setdefault(name, []).append(result)
        by = result["us"] / found[CONTROL][-1]["us"] if found[CONTROL][-1]["us"] else 0.0
        print(f"round {number + 1}: {row.name}: {name}: {result['us']:.1f} µs, {by:.2f} × nginx", flush=True)


def _memory(bench: Bench, found: Found, facts: Facts) -> None:
    facts.memory += [
        "| system | start to ready, s | MB idle¹ | MB after the load¹ | MB in all² | KB of an open stream |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for name, system in bench.systems.items():
        streams = [
            one["kb_per_stream"] for row in found.values() for one in row.get(name, ()) if "kb_per_stream" in one
        ]
        shown = f"{max(streams):.0f}" if streams else "–"
        now = system.memory().values()
        facts.memory.append(
            f"| {name} | {system.started_in:.2f} | {bench.idle[name]:.0f} | {max(now):.0f} | {sum(now):.0f} | {shown} |"
        )
    facts.memory += [
        "",
        "¹ resident, of its largest process, by kind: the serving one · ² workers of analysis and the like included",
    ]


def _about(plan: Plan, found: Found) -> list[str]:
    generator = [
        one["generator_us"] for row in found.values() for results in row.values() for one in results
        if "generator_us" in one
    ]  # fmt: skip
    model = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "?")
    lines = [
        (f"{datetime.now(UTC):%Y-%m-%d} · {os.cpu_count()} cores, {model} · load average {os.getloadavg()[0]:.1f} · "
        f"Linux {platform.release()} · Python {platform.python_version()} ({' '.join(platform.python_build())})"),
        (f"`{' '.join(['python -m bench', *sys.argv[1:]])}`: {plan.rounds} rounds of {plan.seconds:g} s for each work "
        "and system; medians over the rounds; generators, provider, Redis and systems share the cores"),
        "gateway: one process, records to a file, metrics on; aiohttp " + version("aiohttp") + ", uvloop "
        + version("uvloop") + ", httptools " + version("httptools") + ", msgspec " + version("msgspec"),
        f"nginx: {_said(['nginx', '-v'])}, one worker, a key check, connections kept, no buffering, no log",
        f"redis: {_said(['redis-server', '--version'])[:60]}, no persistence; its CPU is not in the figures",
        ("prompts: each request another, of words alone: no digit, no @ (share with either: 0 %); in the row of hits "
        "every prompt holds an address and a phone number, each another; no cache is warm"),
        "restoring: the stream is searched for what was redacted; the provider of the bench does not repeat it",
        "generators: wrk for closed loops; `bench.paced` for streams, "
        + (f"{median(generator):.0f} µs of its own CPU a chunk" if generator else "not used"),
    ]  # fmt: skip
    lines += [f"{one.name}: {' '.join(one.packages)}; {one.settings}" for one in peers.PEERS if one.installed]
    return lines


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text("utf-8").splitlines()
    except OSError:
        return []


def _said(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0]


def main() -> None:
    """Parse, run, write."""
    apart = {"store": store.main, "tokens": tokens.main}  # what is measured without nginx beside it
    if sys.argv[1:2] and (measure := apart.get(sys.argv[1])) is not None:
        measure(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a minute: does it run, is the table whole; no figures")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rows", help="some works alone, by name and separated by commas")
    parser.add_argument("--no-peers", action="store_true", help="the gateway and nginx alone")
    parser.add_argument("--out", type=Path, help="write RESULTS.md and RESULTS.svg into this folder")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not on PATH: make ci-tools")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that whoever ends it ends all that it started
    plan = Plan(1, 0.5, least=True, keys=200, rules=20) if options.smoke else Plan(options.rounds, options.seconds)
    wanted = rows(plan)
    if options.rows:
        names = set(options.rows.split(","))
        if unknown := names - {row.name for row in wanted}:
            raise SystemExit(
                f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(row.name for row in wanted)}"
            )
        wanted = [row for row in wanted if row.name in names]
    if options.smoke or options.no_peers:
        own = {CONTROL, *OURS}
        wanted = [_only(row, own) for row in wanted]
    facts = Facts(about=[f"load average before it began: {os.getloadavg()[0]:.1f}; above 0.5 others were at work"])
    found, _ = run(plan, wanted, facts)
    facts.about += _about(plan, found)
    print(
        "\n".join([*goals(wanted, found), "", *table(wanted, found), "", *facts.memory, "", *facts.missing])
    )  # the result
    if options.out is not None:
        write(options.out, wanted, found, facts)
    if options.smoke:
        _whole(wanted, found, facts)


def _only(row: Row, systems: set[str]) -> Row:
    kept = tuple(name for name in row.systems if name in systems)
    return replace(row, systems=kept)


def _whole(wanted: list[Row], found: Found, facts: Facts) -> None:
    """The smoke run: every work was measured on every system that was wanted, without an error."""
    gaps = [f"{row.name}: {name}" for row in wanted for name in row.systems if name not in found[row.name]]
    errors = [row for row, by in found.items() for results in by.values() for one in results if one["errors"]]
    if gaps or errors:
        raise SystemExit(f"not measured: {gaps}; with errors: {errors}; {facts.missing}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["tokens"]:
        from bench import tokens

        tokens.main(sys.argv[2:])
    elif sys.argv[1:2] == ["privacy"]:
        from bench.privacy import __main__ as privacy  # it imports Presidio

        privacy.main(sys.argv[2:])
    else:
        main()
