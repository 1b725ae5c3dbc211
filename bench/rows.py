"""The works: what is measured, on which systems, and what was to be reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.measures import Load, Result, closed_loop, fixed_rate, paced
from bench.processes import Running

CALM = "Tell me about the history of bridges in Europe. "
PERSONAL = "Write to ada.lovelace@example.com about it. "
CONTROL = "nginx"
OURS = ("plain", "everything", "limits", "two", "plain-keys", "most-keys", "one-rule", "many-rules")


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how much. `least` is the smoke run, for function and never for time. `keys` and `rules` are those
    that nobody uses, where they are many; ten times as many keys where they are most."""

    rounds: int
    seconds: float
    least: bool = False
    keys: int = 10_000
    rules: int = 500


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure to reach: `figure` of the result, as a ratio to nginx or as what is added to it. Of the first system
    after nginx, unless it is `of` another, and beside nginx, unless beside another of the row (`to`)."""

    figure: str
    most: float
    how: str = "ratio"  # ratio | added | value
    of: str = ""
    to: str = CONTROL


@dataclass(frozen=True, slots=True)
class Row:
    """One work. `systems` in the order of a round; nginx is the control in each. The first after it is ours. `turns` is
    how often they take turns within a round."""

    name: str
    work: str
    systems: Sequence[str]
    measure: Callable[[Running], Result]
    unit: str = "request"  # what µs are of: request | chunk
    goals: Sequence[Goal] = ()
    turns: int = 1


def rows(plan: Plan) -> list[Row]:
    """All of them, in the order of RESULTS.md."""
    seconds = plan.seconds
    few, some, many = (5, 20, 40) if plan.least else (10, 200, 500)
    chunks = 100 if plan.least else 500

    def loop(**load: object) -> Callable[[Running], Result]:
        what = Load(**load)  # type: ignore[arg-type]  # a short way to write it
        return lambda system: closed_loop(system, what, seconds)

    def stream(streams: int, prompt: str = CALM) -> Callable[[Running], Result]:
        return lambda system: paced(system, streams, seconds, prompt, chunks=chunks)

    return [
        Row(
            "plain", "plain chat, 32 clients: key, route, record",
            (CONTROL, "plain", "vllm-router", "portkey", "litellm"), loop(), goals=(Goal("us", 3.0),),
        ),
        Row(
            "everything", "everything on, 32 clients: three scopes in Redis, redaction of a clean 1 KB prompt, record",
            (CONTROL, "everything", "litellm-redis"), loop(size=1000), goals=(Goal("us", 5.0),),
        ),
        Row(
            "hits", "the same, an address and a phone number in every prompt, each another",
            (CONTROL, "everything"), loop(size=1000, what="hits"),
        ),
        *[
            Row(f"clients-{clients}", f"plain chat, {clients} clients", (CONTROL, "plain"), loop(clients=clients))
            for clients in ((4,) if plan.least else (1, 16, 64, 256))
        ],
        Row("turns", "a chat of 20 turns, 10 KB, everything on", (CONTROL, "everything"), loop(size=10_000, turns=20)),
        Row(
            "large", "100 KB prompt, everything on but redaction", (CONTROL, "limits", "vllm-router", "portkey"),
            loop(size=100_000), goals=(Goal("us", 4.0),),
        ),
        Row(
            "unpaced", "streams of 100 chunks as fast as they go, 16 clients",
            (CONTROL, "plain", "vllm-router", "portkey"), loop(clients=16, chunks=100), unit="chunk",
        ),
        Row(
            "paced", f"{some} streams × 50 chunks/s", (CONTROL, "plain", "vllm-router"), stream(some), "chunk",
            (Goal("us", 1.6),),
        ),
        Row(
            "restoring", f"{some} streams × 50 chunks/s, everything on, what was redacted is looked for",
            (CONTROL, "everything"), stream(some, PERSONAL), "chunk", (Goal("us", 2.5),),
        ),
        Row(
            "many", f"{many} streams × 50 chunks/s: how long a chunk is under way", (CONTROL, "plain", "vllm-router"),
            stream(many), "chunk", (Goal("p50", 2.0, "added"), Goal("p99", 20.0, "added")),
        ),
        Row(
            "first", f"{few} streams × 50 chunks/s: time to the first chunk",
            (CONTROL, "plain", "vllm-router", "portkey", "litellm"), stream(few), "chunk",
            (Goal("first_p50", 1.0, "added"),),
        ),
        Row(
            "rate", "plain chat at 500 requests/s, 64 clients", (CONTROL, "plain", "vllm-router"),
            lambda system: fixed_rate(system, 50 if plan.least else 500, 64, seconds),
        ),
        Row(
            "workers", "limits in Redis, 64 clients: one worker, two workers", (CONTROL, "limits", "two"),
            # Both are saturated, so that what is compared is not how many events share a turn of a loop.
            lambda system: closed_loop(system, Load(clients=64), min(seconds, 1.0)),
            goals=(Goal("us", 1.05, of="two", to="limits"),), turns=1 if plan.least else 7,
        ),
        Row(
            "keys", f"plain chat, 32 clients: one key, {plan.keys:,} keys, {10 * plan.keys:,} keys",
            (CONTROL, "plain", "plain-keys", "most-keys"), loop(),
        ),
        Row(
            "rules",
            f"plain chat, 32 clients: one other model, price, limit and denied parameter, {plan.rules:,} of each",
            (CONTROL, "one-rule", "many-rules"), loop(),
        ),
    ]  # fmt: skip
