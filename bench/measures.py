"""One measurement of one system each: CPU of its whole process tree over the work, and what its clients saw."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Running
from bench.sets import KEY

PROMPTS = Path(__file__).parent / "prompts.lua"
Result = dict[str, float]


class NotMeasured(Exception):
    """A measurement that gives no figure; the message says why."""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk sends. `chunks` above 0: streams of so many chunks, and µs are per chunk."""

    clients: int = 32
    size: int = 200  # bytes of the prompt
    what: str = "clean"  # clean | hits
    turns: int = 1
    chunks: int = 0


def closed_loop(system: Running, load: Load, seconds: float) -> Result:
    """Each client asks again as soon as it is answered. µs of CPU per request or chunk, requests/s, milliseconds."""
    model = f"bench-{load.chunks}x0" if load.chunks else "bench"
    what = "stream" if load.chunks else load.what
    before = system.cpu()
    done = subprocess.run(
        ["wrk", "-t1", f"-c{load.clients}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "--latency",
         "-s", str(PROMPTS),
         f"http://127.0.0.1:{system.port}/v1/chat/completions", "--", KEY, str(load.size), model, what,
         str(load.turns), *[f"{name}={value}" for name, value in system.headers.items()]],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    used, out = system.cpu() - before, done.stdout
    requests = int(_find(r"(\d+) requests in", out + done.stderr))
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    errors = int(failed[1]) if failed else 0
    if requests == 0 or errors * 2 > requests:
        raise NotMeasured(f"{errors} of {requests} answers are errors")
    return {
        "us": used / requests / max(1, load.chunks) * 1e6,
        "rps": float(_find(r"Requests/sec:\s+([\d.]+)", out)),
        "rps_core": requests / used if used else 0.0,
        "p50": _milliseconds(_find(r"50%\s+([\d.]+\w+)", out)),
        "p99": _milliseconds(_find(r"99%\s+([\d.]+\w+)", out)),
        "errors": float(errors),
    }


def fixed_rate(system: Running, rate: float, clients: int, seconds: float) -> Result:
    """So many requests a second, whatever the answers take."""
    before = system.cpu()
    result = _generator(
        "bench.rate", str(system.port), KEY, "--rate", str(rate), "--clients", str(clients), "--seconds", str(seconds),
        *_headers(system),
    )  # fmt: skip
    used = system.cpu() - before
    if result["answered"] < 0.95 * result["sent"]:
        raise NotMeasured(f"{result['answered']:.0f} of {result['sent']:.0f} answered")
    return {"us": used / result["answered"] * 1e6, "p50": result["p50"], "p99": result["p99"], "errors": 0.0}


def paced(system: Running, streams: int, seconds: float, prompt: str, *, chunks: int = 500, gap: int = 20) -> Result:
    """Many paced streams. µs of CPU per chunk over one window in which all of them run; first token, transit."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.paced", str(system.port), KEY, "--streams", str(streams), "--chunks", str(chunks),
         "--gap", str(gap), "--window", str(seconds), "--prompt", prompt, *_headers(system)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stdout is not None
    idle = sum(system.memory().values())
    process.stderr.readline()
    before, loaded = system.cpu(), sum(system.memory().values())
    process.stderr.readline()
    used = system.cpu() - before
    out, _ = process.communicate()
    if process.returncode != 0 or not out.strip():
        raise NotMeasured("the generator failed")
    result = json.loads(out)
    wanted = streams * result["seconds"] * 1000 / gap
    if result["errors"] or result["chunks"] < 0.5 * wanted:
        raise NotMeasured(f"{result['chunks']} of {wanted:.0f} chunks came, {result['errors']} errors")
    return {
        "us": used / result["chunks"] * 1e6,
        "delivered": result["chunks"] / wanted,
        "first_p50": result["first_p50"],
        "first_p99": result["first_p99"],
        "p50": result["transit_p50"],
        "p99": result["transit_p99"],
        "generator_us": result["own_cpu"] / result["chunks"] * 1e6,
        "kb_per_stream": max(0.0, loaded - idle) * 1024 / streams,
        "errors": float(result["errors"]),
    }


def _headers(system: Running) -> list[str]:
    return [part for name, value in system.headers.items() for part in ("--header", f"{name}={value}")]


def _generator(module: str, *arguments: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        raise NotMeasured(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "the generator failed")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise NotMeasured(f"wrk said nothing of {pattern!r}: {text[-300:]}")
    return found[1]


def _milliseconds(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if found is None:
        raise NotMeasured(f"wrk said {text!r} for a time")
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[found[2]]
