"""The table of a record's fields in docs/operations.md is that of gateway/record.py."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from gateway.errors import REFUSALS, Reason
from gateway.record import Standing, ToldMore

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def test_every_field_of_a_record_is_documented_once_and_no_other() -> None:
    part = OPERATIONS.read_text("utf-8").partition("### The fields of a record")[2].partition("\n#")[0]
    told = [name for row in re.findall(r"^\| (`.+?) \|", part, re.MULTILINE) for name in re.findall("`([^`]+)`", row)]
    fields = (*msgspec.structs.fields(ToldMore), *msgspec.structs.fields(Standing))
    assert sorted(told) == sorted(field.encode_name for field in fields if field.name not in {"line", "sort"})


def test_the_words_of_records_and_of_the_wire_differ_where_the_page_says_so() -> None:
    assert (Reason.INVALID_KEY.value, REFUSALS[Reason.INVALID_KEY].code) == ("invalid_key", "invalid_api_key")
    assert (Reason.UNKNOWN_MODEL.value, REFUSALS[Reason.UNKNOWN_MODEL].code) == ("unknown_model", "model_not_found")
