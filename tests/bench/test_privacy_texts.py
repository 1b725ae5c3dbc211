"""The labelled set is what was committed before detection was tuned, and its splits have nothing in common."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.privacy.texts import SPLITS, Labelled, committed, digest, filled, labelled
from bench.privacy.values import ENTITIES, NEGATIVES, Values, luhn

SETS = {split: labelled(split) for split in SPLITS}


@pytest.mark.parametrize("split", SPLITS)
def test_it_is_the_set_that_was_committed(split: str) -> None:
    assert digest(SETS[split]) == committed()[split]


def test_the_splits_share_no_template_and_no_text() -> None:
    tuning, test = ({one for ways in SPLITS[split].values() for one in ways} for split in ("tuning", "test"))
    assert tuning.isdisjoint(test)
    assert {one.text for one in SETS["tuning"]}.isdisjoint(one.text for one in SETS["test"] if one.labels)


def test_there_is_enough_of_each() -> None:
    assert sum(map(len, SETS.values())) >= 3000
    assert len(NEGATIVES) >= 20
    for texts in SETS.values():
        assert len({one.style for one in texts}) >= 9
        assert sum(not one.labels for one in texts) >= 500
        kinds = Counter(label.entity for one in texts for label in one.labels)
        assert set(kinds) == {entity for entity, _ in ENTITIES.values()}


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_in_order_and_hold_the_value(split: str) -> None:
    for one in SETS[split]:
        end = 0
        for label in one.labels:
            assert end <= label.start < label.end <= len(one.text)
            end = label.end


def test_a_template_is_filled_with_values_in_their_places() -> None:
    made = filled("{{a}} {email}, {n.version}!", Values(1), "chat")
    label = made.labels[0]
    assert made.text.startswith("{a} ")
    assert made.text[label.start : label.end].count("@") == 1
    assert made == Labelled(made.text, (label,), "chat")
    assert (label.start, label.entity) == (4, "EMAIL_ADDRESS")


def test_cards_have_a_right_check_digit() -> None:
    assert luhn("4111111111111111")
    assert not luhn("4111111111111112")
    values = Values(3)
    assert all(luhn("".join(char for char in values.card() if char.isdigit())) for _ in range(200))
