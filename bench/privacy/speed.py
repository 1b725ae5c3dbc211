"""Time: ratios to plain Presidio in the same run, the worst cases, and what the serving process itself pays.

CPU time throughout, except for a round trip: the machine may do other things meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from presidio_analyzer import AnalyzerEngine, EntityRecognizer, RecognizerRegistry, predefined_recognizers
from presidio_analyzer.nlp_engine import NoOpNlpEngine

from bench.privacy.corpora import WORST, chat, code, dense, mixed, prose
from gateway.endpoints import find
from gateway.errors import Rule
from gateway.identity.principal import Principal
from gateway.policy.compiled import Key, PolicySet, RedactionProfile
from gateway.policy.permit import Permit
from gateway.reading import Ask
from gateway.redaction.detection.engine import WindowEngine, offline
from gateway.redaction.detection.profile import ProfileAnalyzer
from gateway.redaction.gate import Gate
from gateway.redaction.presidio import PresidioAnalyzer
from gateway.redaction.redact import Redaction, SpanMemory

DEFAULT = (  # what Presidio has switched on for English
    "CreditCard", "UsBank", "UsLicense", "UsItin", "UsPassport", "UsSsn", "Nhs", "Crypto", "Date", "Email", "Iban",
    "Ip", "MedicalLicense", "MacAddress", "Uuid", "Phone", "Url",
)  # fmt: skip
Work = Callable[[], object]


def presidios() -> list[EntityRecognizer]:
    """Presidio's default recognizers."""
    return [getattr(predefined_recognizers, f"{name}Recognizer")() for name in DEFAULT]


def plain_presidio() -> AnalyzerEngine:
    """Presidio as it comes, without a model: its default recognizers over its NoOp engine."""
    offline()
    registry = RecognizerRegistry(recognizers=presidios(), supported_languages=["en"])
    engine = NoOpNlpEngine(models=[{"lang_code": "en", "model_name": "no_op"}])
    engine.load()
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])


def cpu(work: Work, rounds: int = 5) -> float:
    """Seconds of CPU: the least of several rounds, of which each is long enough to be measured."""
    best = float("inf")
    for _ in range(rounds):
        times = 0
        began = time.process_time()
        while (spent := time.process_time() - began) < 0.05 or not times:
            work()
            times += 1
        best = min(best, (time.process_time() - began if spent < 0 else spent) / times)
    return best


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of text: milliseconds of CPU, of Presidio and of ours."""

    name: str
    presidio: float
    same: float  # the same recognizers on windows
    ours: dict[str, float]  # profile → its own recognizers on windows


def rows(profiles: Sequence[RedactionProfile], rounds: int) -> list[Row]:
    """The table of ratios."""
    engine, windows = plain_presidio(), WindowEngine(presidios())
    ours = {one.name: ProfileAnalyzer(one) for one in profiles}
    texts = {
        "clean prose, 10 KB": [prose(10_240)], "code, 10 KB": [code(10_240)], "mixed, 10 KB": [mixed(10_240)],
        "short texts full of personal data": dense()[:100],
    }  # fmt: skip

    def each(analyze: Callable[[str], object], of: Sequence[str]) -> Work:
        return lambda: [analyze(text) for text in of]

    def plain(text: str) -> object:
        return engine.analyze(text, "en")

    made = [
        Row(
            name,
            cpu(each(plain, of), rounds) * 1000,
            cpu(each(windows.analyze, of), rounds) * 1000,
            {profile: cpu(each(one.analyze, of), rounds) * 1000 for profile, one in ours.items()},
        )
        for name, of in texts.items()
    ]
    turns = chat()
    made.append(
        Row(
            "chat of 20 turns, each message searched once",
            cpu(each(plain, [text for turn in turns for text in turn]), 2) * 1000,
            cpu(lambda: _remembered(turns, None, windows.analyze, profiles[0]), rounds) * 1000,
            {
                one.name: cpu(lambda one=one: _remembered(turns, Gate(one), ours[one.name].analyze, one), rounds) * 1000  # type: ignore[misc]  # bound at once
                for one in profiles
            },
        )
    )
    return made


def _remembered(
    turns: Sequence[Sequence[str]], gate: Gate | None, analyze: Callable[[str], object], profile: RedactionProfile
) -> None:
    """What `redact` does with a chat: the gate, the memory, and an analysis of what is new."""
    memory = SpanMemory(b"k" * 32)
    for turn in turns:
        for text in turn:
            if gate is not None and not gate.may_hold(text):
                continue
            mark = memory.mark(profile, text)
            if memory.get(mark) is None:
                analyze(text)
                memory.put(mark, ())


def worst(profiles: Sequence[RedactionProfile]) -> list[Row]:
    """The worst cases, each once for Presidio, which takes seconds."""
    engine, windows = plain_presidio(), WindowEngine(presidios())
    ours = {one.name: ProfileAnalyzer(one) for one in profiles}
    made = []
    for name, make in WORST.items():
        text = make()
        began = time.process_time()
        engine.analyze(text, "en")
        took = (time.process_time() - began) * 1000
        made.append(
            Row(
                name, took, cpu(lambda text=text: windows.analyze(text), 2) * 1000,  # type: ignore[misc]  # bound at once
                {profile: cpu(lambda text=text, one=one: one.analyze(text), 3) * 1000 for profile, one in ours.items()},  # type: ignore[misc]  # bound at once
            )
        )  # fmt: skip
    return made


@dataclass(frozen=True, slots=True)
class Serving:
    """What the serving process pays."""

    clean: float  # µs of CPU for a 1 KB prompt that was never seen
    code: float  # likewise, 1 KB of code
    trip: float  # ms from a text with hits to its spans, median
    held: float  # ms of CPU: the longest that the event loop was held
    worker_mb: float  # resident memory of an analysis worker


async def serving(profile: RedactionProfile) -> Serving:
    """Gate, round trip, and the longest hold of the event loop while bodies of 1 to 100 KB are redacted."""
    gate = Gate(profile)
    clean, coded = _each_new(gate, prose), _each_new(gate, code)
    analyzer = PresidioAnalyzer()
    try:
        await analyzer.start([profile])
        texts = [one for one in dense() if gate.may_hold(one)][:100]
        trips = []
        for text in texts:
            began = time.perf_counter()
            await analyzer.analyze([text], profile)
            trips.append(time.perf_counter() - began)
        redaction = Redaction(analyzer, b"m" * 32, _Clock())
        held = await _longest_hold(redaction, profile)
        return Serving(clean, coded, sorted(trips)[len(trips) // 2] * 1000, held * 1000, _worker_mb())
    finally:
        await analyzer.close()


def _each_new(gate: Gate, make: Callable[[int, int], str]) -> float:
    texts = [make(1024, seed) for seed in range(400)]
    kept = [text for text in texts if not gate.may_hold(text)]
    assert len(kept) > len(texts) // 2, "they are clean"
    return cpu(lambda: [gate.may_hold(text) for text in kept]) / len(kept) * 1e6


async def _longest_hold(redaction: Redaction, profile: RedactionProfile) -> float:
    """Seconds of CPU of this thread between two turns of the loop, at most, while requests are redacted."""
    longest, running = 0.0, True

    async def watch() -> None:
        nonlocal longest
        while running:
            began = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - began)

    texts = dense()
    sizes = (1, 1, 1, 4, 20, 100)
    permits = [
        _permit(
            [prose(sizes[number % 6] * 1024, 1000 + number), texts[number % len(texts)], code(512, number)], profile
        )
        for number in range(120)
    ]
    gc.collect()
    watcher = asyncio.get_running_loop().create_task(watch())
    for permit in permits:
        await redaction.redact(permit)
    running = False
    await watcher
    return longest


_RULE = Rule(0, "bench", "bench", 1)


def _permit(texts: Sequence[str], profile: RedactionProfile) -> Permit:
    endpoint = find("POST", "/v1/chat/completions")
    assert endpoint is not None
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text} for text in texts]}).encode()
    ask = Ask(endpoint, body, msgspec.json.decode(body, type=dict[str, msgspec.Raw]), "m")
    policy = PolicySet("0" * 64, {}, {}, {}, (), (), {}, ())
    return Permit(policy, Principal(Key("a", "k_a", (), _RULE, tenant="acme"), "s"), ask, _RULE, redaction=profile)


class _Clock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


def _worker_mb() -> float:
    kilobytes = [
        int(line.split()[1])
        for child in multiprocessing.active_children()
        for line in Path(f"/proc/{child.pid}/status").read_text("ascii").splitlines()
        if line.startswith("VmRSS")
    ]
    return max(kilobytes, default=0) / 1024
