"""Which encoding a model is counted in."""

from __future__ import annotations

import pytest
from tiktoken import model as theirs

from gateway.tokens.encodings import ENCODINGS, encoding_of

OURS = {"o200k_harmony": "o200k_base", "p50k_edit": "p50k_base", "gpt2": "r50k_base"}  # the same ranks
RETIRED = ("similarity", "search", "codex", "edit", "gpt2", "gpt-2")  # models that nobody serves any more


@pytest.mark.parametrize("name", sorted(theirs.MODEL_TO_ENCODING))
def test_every_model_that_tiktoken_knows_is_known(name: str) -> None:
    if any(part in name for part in RETIRED):
        return
    wanted = theirs.MODEL_TO_ENCODING[name]
    assert encoding_of(name) == (OURS.get(wanted, wanted), True)


@pytest.mark.parametrize("prefix", sorted(theirs.MODEL_PREFIX_TO_ENCODING))
def test_so_is_every_family(prefix: str) -> None:
    wanted = theirs.MODEL_PREFIX_TO_ENCODING[prefix]
    assert encoding_of(f"{prefix.rstrip('-')}-2031-01-01") == (OURS.get(wanted, wanted), True)


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("openai/gpt-4o-mini", "o200k_base"),
        ("gpt-5.1-mini-2026-11-01", "o200k_base"),
        ("gpt-4-0613", "cl100k_base"),
        ("gpt-4.1-nano", "o200k_base"),
        ("ft:gpt-4o-mini:acme::1", "o200k_base"),
        ("ft:gpt-3.5-turbo:acme", "cl100k_base"),
        ("GPT-4", "cl100k_base"),
    ],
)
def test_names_as_they_are_written(model: str, encoding: str) -> None:
    assert encoding_of(model) == (encoding, True)


@pytest.mark.parametrize("model", [None, "", "claude-sonnet-4-5", "gemini-3-pro", "o1x", "gpt-4omni", "adam", "llama"])
def test_an_unknown_model_is_counted_in_the_newest_and_said_to_be_unknown(model: str | None) -> None:
    assert encoding_of(model) == ("o200k_base", False)


def test_a_rank_file_is_named_after_its_encoding() -> None:
    assert {one.file for one in ENCODINGS.values()} == {f"{name}.tiktoken" for name in ENCODINGS}
