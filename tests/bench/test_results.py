"""What the bench makes of its measurements: ratios round by round, goals, a table without gaps, a plot."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from bench.results import Facts, goals, plot, ratios, report
from bench.rows import CONTROL, Goal, Plan, Row, rows

RESULT = {"us": 10.0, "p50": 1.0, "p99": 2.0, "rps_core": 1e5, "errors": 0.0}


def row(*goals: Goal) -> Row:
    return Row("plain", "plain <chat>", (CONTROL, "plain", "peer"), lambda _: RESULT, goals=goals)


def found(*factors: float) -> dict[str, dict[str, list[dict[str, float]]]]:
    ours = [{**RESULT, "us": 10 * factor, "p50": 1 + factor} for factor in factors]
    return {"plain": {CONTROL: [RESULT] * len(factors), "plain": ours}}


def test_ratios_are_taken_within_a_round() -> None:
    by = {CONTROL: [{"us": 10.0}, {"us": 20.0}], "plain": [{"us": 30.0}, {"us": 40.0}]}
    assert ratios(by, "plain") == [3.0, 2.0]
    assert ratios(by, "peer") == []
    assert ratios({CONTROL: [{"us": 0.0}], "plain": [{"us": 1.0}]}, "plain") == []


def test_goals_say_what_was_reached_and_what_not() -> None:
    lines = goals([row(Goal("us", 3.0), Goal("p50", 2.0, "added"))], found(2.0, 2.5, 9.0))
    assert lines[2].endswith("| 2.50× | yes |")
    assert lines[3].endswith("| 2.50 | **no** |")
    assert goals([row(Goal("us", 3.0))], {})[2].endswith("| – | not measured |")


def test_a_goal_may_be_beside_another_system_turn_by_turn() -> None:
    by = {CONTROL: [RESULT] * 3, "plain": [{**RESULT, "us": us} for us in (10.0, 20.0, 10.0)],
          "peer": [{**RESULT, "us": us} for us in (11.0, 20.0, 10.0)]}  # fmt: skip
    line = goals([row(Goal("us", 1.05, of="peer", to="plain"))], {"plain": by})[2]
    assert line.endswith("| µs ≤ 1.05× plain | 1.00× (half of 3 pairs: 1.00 – 1.10) | yes |")


def test_the_report_has_a_line_for_each_system_that_was_measured() -> None:
    text = report([row()], found(2.0), Facts(["this machine"], ["| memory |"], ["peer: not installed"]))
    assert "| plain <chat> | nginx | request | 10.0 | 1.00 (1.00 – 1.00) | 100,000 | 1.00 / 2.00 | 0 |" in text
    assert "|  | plain | request | 20.0 | 2.00 (2.00 – 2.00) |" in text
    assert "- peer: not installed" in text


def test_the_plot_is_well_formed() -> None:
    drawn = ET.fromstring(plot([row(Goal("us", 3.0))], found(2.0)))
    assert "plain <chat>" in "".join(drawn.itertext())


def test_the_rows_have_names_of_their_own_and_begin_with_the_control() -> None:
    for plan in (Plan(1, 1.0), Plan(1, 1.0, least=True)):
        made = rows(plan)
        assert len({one.name for one in made}) == len(made)
        assert all(one.systems[0] == CONTROL for one in made)
