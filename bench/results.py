"""RESULTS.md and its plot out of what was measured. Pure but for the two files it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from math import log
from pathlib import Path
from statistics import median, quantiles

from bench.measures import Result
from bench.rows import CONTROL, OURS, Goal, Row

# row → system → one result for each round
Found = Mapping[str, Mapping[str, Sequence[Result]]]


@dataclass(slots=True)
class Facts:
    """What else RESULTS.md says."""

    about: list[str] = field(default_factory=list)  # machine, versions, command
    memory: list[str] = field(default_factory=list)  # lines of a table
    missing: list[str] = field(default_factory=list)  # what was not measured, and why


def ratios(found: Mapping[str, Sequence[Result]], system: str, figure: str = "us", to: str = CONTROL) -> list[float]:
    """Round by round, a system's figure by nginx', or by another's."""
    pairs = zip(found.get(system, ()), found.get(to, ()), strict=False)
    return [one[figure] / base[figure] for one, base in pairs if base.get(figure)]


def value(found: Mapping[str, Sequence[Result]], system: str, goal: Goal) -> float | None:
    """The median of what a goal is about; None where it was not measured."""
    if goal.how == "ratio":
        all_of_them = ratios(found, system, goal.figure, goal.to)
    else:
        pairs = zip(found.get(system, ()), found.get(CONTROL, ()), strict=False)
        all_of_them = [one[goal.figure] - (base[goal.figure] if goal.how == "added" else 0.0) for one, base in pairs]
    return median(all_of_them) if all_of_them else None


def goals(rows: Sequence[Row], found: Found) -> list[str]:
    """Every goal, what was measured, and whether it was reached."""
    lines = ["| work | goal | measured | reached |", "| --- | --: | --: | --- |"]
    words = {"us": "µs", "p50": "transit p50", "p99": "transit p99", "first_p50": "first chunk p50"}
    for row in rows:
        for goal in row.goals:
            by, system = found.get(row.name, {}), goal.of or row.systems[1]
            got = value(by, system, goal)
            mark, unit = ("×", f" {goal.to}") if goal.how == "ratio" else ("", " ms added")
            shown = "–" if got is None else f"{got:.2f}{mark}"
            if goal.to != CONTROL and len(pairs := ratios(by, system, goal.figure, goal.to)) > 1:
                low, _, high = quantiles(pairs, n=4)
                shown += f" (half of {len(pairs)} pairs: {low:.2f} – {high:.2f})"
            said = "not measured" if got is None else "yes" if got <= goal.most else "**no**"
            lines.append(f"| {row.work} | {words[goal.figure]} ≤ {goal.most:g}{mark}{unit} | {shown} | {said} |")
    return lines


def table(rows: Sequence[Row], found: Found) -> list[str]:
    """Every work on every system: medians, and the spread of the ratio."""
    lines = [
        "| work | system | CPU µs of | median | × nginx (min – max) | requests/s of a core | p50 / p99 ms | errors |",
        "| --- | --- | --- | --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        for system in row.systems:
            results = found.get(row.name, {}).get(system, ())
            if not results:
                continue
            by = ratios(found[row.name], system)
            times = f"{_median(results, 'p50'):.2f} / {_median(results, 'p99'):.2f}" if "p50" in results[0] else "–"
            if row.name == "first":
                times = f"{_median(results, 'first_p50'):.2f} / {_median(results, 'first_p99'):.2f}"
            core = f"{_median(results, 'rps_core'):,.0f}" if "rps_core" in results[0] else "–"
            lines.append(
                f"| {row.work if system == CONTROL else ''} | {system} | {row.unit} | {_median(results, 'us'):.1f} | "
                f"{_spread(by)} | {core} | {times} | "
                f"{sum(one['errors'] for one in results):.0f} |"
            )
    return lines


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} – {max(values):.2f})" if values else "–"


def _median(results: Sequence[Result], figure: str) -> float:
    return median(one[figure] for one in results)


def report(rows: Sequence[Row], found: Found, facts: Facts) -> str:
    """RESULTS.md."""
    parts = [
        "# Results",
        ("CPU is that of a system's whole process tree, user and system. Ratios to nginx in the same round are the "
        "figures: absolute microseconds depend on the machine and on what else it does."),
        "![CPU of each work as a multiple of nginx](RESULTS.svg)",
        "## Goals", "\n".join(goals(rows, found)),
        "What stands in the way of those that are not reached: [docs/performance.md](../docs/performance.md).",
        "## All works", "\n".join(table(rows, found)),
        ("In the closed loop each client asks again as soon as it is answered, so its times are mostly the queue; "
        "times that mean something are those at a fixed rate and of paced streams. The time of a first chunk is from "
        "the request to its arrival, that of other chunks from the provider's clock to the client's."),
        "## Memory and start", "\n".join(facts.memory),
        "## How it was measured", "\n".join(f"- {line}" for line in facts.about),
    ]  # fmt: skip
    if facts.missing:
        parts += ["## Not measured", "\n".join(f"- {line}" for line in facts.missing)]
    return "\n\n".join(parts) + "\n"


COLOURS = {"ours": "#2563eb", "control": "#9ca3af", "peer": "#f59e0b"}


def plot(rows: Sequence[Row], found: Found) -> str:
    """A bar for each work and system, as a multiple of nginx on a logarithmic scale, with its goal as a line."""
    bars: list[tuple[str, str, float, float | None]] = []
    for row in rows:
        goal = next((one.most for one in row.goals if one.figure == "us"), None)
        for place, system in enumerate(row.systems):
            by = ratios(found.get(row.name, {}), system)
            if by and system != CONTROL:
                bars.append((row.work if place == 1 else "", system, median(by), goal if place == 1 else None))
    left, height, width = 560, 18, 1000
    scale = _scale(max((one[2] for one in bars), default=10.0), width - left - 70)
    out = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{(len(bars) + 2) * height}" '
            'font-family="sans-serif" font-size="11">'
        ),
        f'<rect width="{width}" height="{(len(bars) + 2) * height}" fill="white"/>',
    ]
    for number, (work, system, ratio, goal) in enumerate(bars):
        y = (number + 0.5) * height
        kind = "ours" if system in OURS else "peer"
        out.append(f'<text x="{left - 105}" y="{y + 11}" text-anchor="end">{escape(work[:72])}</text>')
        out.append(f'<text x="{left - 6}" y="{y + 11}" text-anchor="end" fill="#555">{escape(system)}</text>')
        out.append(f'<rect x="{left}" y="{y}" width="{scale(ratio):.1f}" height="13" fill="{COLOURS[kind]}"/>')
        out.append(f'<text x="{left + scale(ratio) + 4:.1f}" y="{y + 11}">{ratio:.1f}×</text>')
        if goal is not None:
            x = left + scale(goal)
            out.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 2}" y2="{y + 15}" stroke="#dc2626" stroke-width="2"/>'
            )
    out.append(
        f'<text x="{left}" y="{(len(bars) + 1.4) * height}" fill="#555">CPU as a multiple of nginx, logarithmic; '
        "red: the goal</text></svg>"
    )
    return "\n".join(out) + "\n"


def _scale(largest: float, room: float) -> Callable[[float], float]:
    top = log(max(2.0, largest))
    return lambda ratio: max(1.0, log(max(1.0, ratio)) / top * room)


def write(folder: Path, rows: Sequence[Row], found: Found, facts: Facts) -> None:
    """Both files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "RESULTS.md").write_text(report(rows, found, facts), "utf-8")
    (folder / "RESULTS.svg").write_text(plot(rows, found), "utf-8")
