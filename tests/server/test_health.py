"""What workers found together."""

from __future__ import annotations

import pytest

from gateway.server.health import WELL, Finding
from gateway.server.workers import of_all

AWAY = Finding(ready=True, words="away")
USED_UP = Finding(ready=False, words="used up")


@pytest.mark.parametrize(("found", "together"), [
    ([], WELL),
    ([WELL, WELL], WELL),
    ([AWAY, AWAY], AWAY),
    ([WELL, AWAY], Finding(ready=True, words="away (1 of 2 workers)")),
    ([AWAY, USED_UP], Finding(ready=True, words="used up")),
    ([WELL, USED_UP, AWAY], Finding(ready=True, words="used up (2 of 3 workers)")),
    ([USED_UP, USED_UP], USED_UP),
])  # fmt: skip
def test_one_that_is_ready_is_enough_and_what_is_not_well_is_said(found: list[Finding], together: Finding) -> None:
    assert of_all(found) == together
