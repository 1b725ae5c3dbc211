"""`python -m bench`: the gateway and nginx on the same work, in interleaved rounds, and a table of both.

CPU is that of a system's whole process tree. Ratios to nginx in the same run are the figures; absolute microseconds
depend on the machine and on what else it does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench import store, tokens
from bench.processes import KEY, Running, chat_once, gateway, key_hash, nginx, redis_server, upstream

HERE = Path(__file__).parent
MODELS = """
[models.bench]
provider = "bench"
[models."bench-*"]
provider = "bench"
[[prices]]
provider = "bench"
model = "*"
input = 1.0
output = 2.0
"""
BIG = "1_000_000_000"


def plain_policies() -> dict[str, str]:
    """Key, route and record: no limit, no redaction."""
    return {"keys.toml": f'[keys.bench]\nhash = "{key_hash()}"\nmodels = ["*"]\n', "models.toml": MODELS}


def everything_policies(*, redaction: bool = True) -> dict[str, str]:
    """Three scopes of limits in the store, redaction, prices: what a company would run."""
    limits = f"requests_per_minute = {BIG}, tokens_per_minute = {BIG}00"
    profile = 'redaction = "strict"\n' if redaction else ""
    return {
        "keys.toml": f"[tenants.acme]\nbudget = {{ usd_per_month = 1_000_000 }}\n"
        f'[teams.support]\ntenant = "acme"\nlimits = {{ {limits} }}\n'
        f'[keys.bench]\nhash = "{key_hash()}"\nteam = "support"\nmodels = ["*"]\n{profile}'
        f"limits = {{ {limits} }}\nbudget = {{ usd_per_month = 1_000_000, tokens_per_day = {BIG}00 }}\n",
        "models.toml": MODELS,
        "redaction.toml": '[redaction.strict]\nentities = ["EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE",'
        ' "US_SSN", "IP_ADDRESS"]\naction = "replace"\non_error = "deny"\n',
    }


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how much."""

    rounds: int
    seconds: float
    clients: int = 32
    streams: int = 200
    chunks: int = 500


Result = dict[str, float]


def plain(system: Running, plan: Plan, prompt_bytes: int) -> Result:
    """Closed loop with wrk; every prompt is another. CPU µs per request, requests/s, latency."""
    script = HERE / "prompts.lua"
    before = system.cpu()
    out = subprocess.run(
        ["wrk", "-t1", f"-c{plan.clients}", f"-d{plan.seconds:g}s", "--latency", "-s", str(script),
         f"http://127.0.0.1:{system.port}/v1/chat/completions", "--", KEY, str(prompt_bytes)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    used = system.cpu() - before
    requests = int(_find(r"(\d+) requests in", out))
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    return {
        "us": used / requests * 1e6,
        "rps": float(_find(r"Requests/sec:\s+([\d.]+)", out)),
        "p50": _milliseconds(_find(r"50%\s+([\d.]+\w+)", out)),
        "p99": _milliseconds(_find(r"99%\s+([\d.]+\w+)", out)),
        "errors": float(failed[1]) if failed else 0.0,
    }


def paced(system: Running, plan: Plan, prompt: str, streams: int | None = None, gap: int = 20) -> Result:
    """Many paced streams. CPU µs per chunk, over one window in which all of them run."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.paced", str(system.port), KEY, "--streams", str(streams or plan.streams),
         "--chunks", str(plan.chunks), "--gap", str(gap), "--window", str(plan.seconds), "--prompt", prompt],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stdout is not None
    memory = sum(system.memory().values())
    process.stderr.readline()
    before = system.cpu()
    loaded = sum(system.memory().values())
    process.stderr.readline()
    used = system.cpu() - before
    result = json.loads(process.stdout.read())
    process.wait()
    return {
        "us": used / max(1, result["chunks"]) * 1e6,
        "chunks_per_s": result["chunks"] / result["seconds"],
        "first_p50": result["first_p50"] or 0.0,
        "transit_p50": result["transit_p50"] or 0.0,
        "transit_p99": result["transit_p99"] or 0.0,
        "generator_cpu": result["own_cpu"],
        "kb_per_stream": (loaded - memory) * 1024 / (streams or plan.streams),
        "errors": float(result["errors"]),
    }


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise SystemExit(f"wrk said nothing of {pattern!r}:\n{text}")
    return found[1]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]  # wrk's own format
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


Measure = Callable[[Running], Result]


@dataclass(frozen=True, slots=True)
class Row:
    """One work and who does it; nginx is the control in each."""

    work: str
    system: str
    measure: Measure


def rows(plan: Plan) -> list[Row]:
    """The works of this version."""
    calm = "Tell me about the history of bridges in Europe. "
    personal = "Write to ada.lovelace@example.com about it. "
    return [
        Row(f"plain chat, {plan.clients} clients: key, route, record", "plain", lambda on: plain(on, plan, 200)),
        Row("the same, everything on, clean 1 KB prompt", "everything", lambda on: plain(on, plan, 1000)),
        Row("100 KB prompt, everything on but redaction", "limits", lambda on: plain(on, plan, 100_000)),
        Row(f"streamed chunk, {plan.streams} × 50/s", "plain", lambda on: paced(on, plan, calm)),
        Row(f"streamed chunk, {plan.streams} × 50/s, restoring", "everything", lambda on: paced(on, plan, personal)),
        Row("10 paced streams: first token", "plain", lambda on: paced(on, plan, calm, streams=10)),
    ]


def run(plan: Plan) -> tuple[list[tuple[Row, list[Result], list[Result]]], dict[str, Running], dict[str, float]]:
    """All rows: each round measures nginx and then the gateway."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        provider = stack.enter_context(upstream())
        redis = f"redis://127.0.0.1:{stack.enter_context(redis_server(folder))}/0"
        systems: dict[str, Running] = {"nginx": stack.enter_context(nginx(folder, provider.port))}
        sets: Mapping[str, tuple[dict[str, str], str]] = {
            "plain": (plain_policies(), "memory://"),
            "everything": (everything_policies(), redis),
            "limits": (everything_policies(redaction=False), redis),
        }
        for name, (policies, store) in sets.items():
            systems[name] = stack.enter_context(gateway(name, folder / name, provider.port, policies, store=store))
        idle = {name: max(system.memory().values()) for name, system in systems.items()}
        for name, system in systems.items():
            status = chat_once(system.port, KEY, {"model": "bench", "messages": [{"role": "user", "content": "hello"}]})
            if status != 200:
                raise SystemExit(f"{name} answers {status}")
        results: list[tuple[Row, list[Result], list[Result]]] = [(row, [], []) for row in rows(plan)]
        for number in range(plan.rounds):
            for row, control, ours in results:
                control.append(row.measure(systems["nginx"]))
                ours.append(row.measure(systems[row.system]))
                print(f"round {number + 1}: {row.work}: {ours[-1]['us'] / control[-1]['us']:.2f} × nginx", flush=True)
        return results, systems, idle


def table(results: list[tuple[Row, list[Result], list[Result]]]) -> list[str]:
    """Markdown: medians, and the spread of the ratio."""
    lines = [
        "| work | nginx, µs | gateway, µs | × nginx (min - max) | nginx p50 / p99 ms | gateway p50 / p99 ms | errors |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    for row, control, ours in results:
        ratios = [one["us"] / base["us"] for one, base in zip(ours, control, strict=True)]
        kind = ("transit_p50", "transit_p99") if "transit_p50" in ours[0] else ("p50", "p99")
        if "first token" in row.work:
            kind = ("first_p50", "transit_p99")
        times = [" / ".join(f"{median(one[name] for one in side):.2f}" for name in kind) for side in (control, ours)]
        lines.append(
            f"| {row.work} | {median(one['us'] for one in control):.1f} | {median(one['us'] for one in ours):.1f} | "
            f"{median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f}) | {times[0]} | {times[1]} | "
            f"{sum(one['errors'] for one in ours):.0f} |"
        )
    return lines


def main() -> None:
    """Parse, run, write."""
    if sys.argv[1:2] == ["store"]:
        store.main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="python -m bench", description="The gateway against nginx, in one run. "
                                     "`store`: the limit store against redis-py's pool.")  # fmt: skip
    parser.add_argument(
        "--smoke", action="store_true", help="seconds instead of minutes: does it run, is the table whole"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--out", type=Path, help="write the table there, as bench/RESULTS.md has it")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not on PATH: make ci-tools")
    plan = Plan(1, 1.0, clients=8, streams=20, chunks=200) if options.smoke else Plan(options.rounds, options.seconds)
    results, systems, idle = run(plan)
    lines = table(results)
    streams = [
        one["kb_per_stream"]
        for row, _, ours in results
        for one in ours
        if row.system == "plain" and "kb_per_stream" in one
    ]
    said = [
        *lines,
        "",
        (
            f"Memory of a serving process, idle: {idle['plain']:.0f} MB (nginx worker {idle['nginx']:.0f} MB); "
            f"per open stream: {median(streams):.0f} KB. "
            f"Start to ready: {systems['plain'].started_in:.2f} s without redaction, "
            f"{systems['everything'].started_in:.2f} s with analysis workers."
        ),
        "",
        (
            f"{datetime.now(UTC):%Y-%m-%d} · {os.cpu_count()} cores · Python {platform.python_version()} · "
            f"{plan.rounds} rounds of {plan.seconds:g} s · `{' '.join(['python -m bench', *sys.argv[1:]])}`"
        ),
    ]
    print("\n".join(said))  # the result
    if options.out is not None:
        options.out.write_text("# Results\n\n" + "\n".join(said) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["tokens"]:
        tokens.main(sys.argv[2:])
    else:
        main()
