"""Which encoding a model's text is counted in, and the rank file that holds each encoding. Pure.

The ranks are OpenAI's, published once and never changed: a file is the right one if its SHA-256 is, wherever it came
from. The table of models follows tiktoken's own (openai/tiktoken, tiktoken/model.py), by the longest prefix that fits.
A model that is in no row is counted in the newest encoding, and whoever is told the figure is told that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Encoding:
    """One encoding and its rank file: `size` in bytes."""

    name: str
    sha256: str
    size: int

    @property
    def file(self) -> str:
        """The rank file's name, wherever it lies."""
        return f"{self.name}.tiktoken"


ENCODINGS: Mapping[str, Encoding] = MappingProxyType(
    {
        one.name: one
        for one in (
            Encoding("o200k_base", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d", 3_613_922),
            Encoding("cl100k_base", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7", 1_681_126),
            Encoding("p50k_base", "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069", 836_186),
            Encoding("r50k_base", "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930", 835_554),
        )
    }
)  # fmt: skip
NEWEST = "o200k_base"

_MODELS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            ("chatgpt-4o", "codex-", "computer-use", "gpt-4.1", "gpt-4.5", "gpt-4o", "gpt-5", "gpt-oss", "gpt-audio",
             "gpt-realtime", "o1", "o3", "o4"), "o200k_base",
        ),
        **dict.fromkeys(
            ("babbage-002", "davinci-002", "gpt-3.5", "gpt-35", "gpt-4", "text-embedding-3", "text-embedding-ada-002"),
            "cl100k_base",
        ),
        **dict.fromkeys(("code-cushman", "code-davinci", "text-davinci-002", "text-davinci-003"), "p50k_base"),
        **dict.fromkeys(
            ("ada", "babbage", "curie", "davinci", "text-ada", "text-babbage", "text-curie", "text-davinci-001"),
            "r50k_base",
        ),
    }
)  # fmt: skip
_LONGEST_FIRST = tuple(sorted(_MODELS, key=len, reverse=True))
_END = re.compile(r"[-.:@]|$")  # what may follow a prefix: `o1-mini` and `gpt-5.1` are of the family, `o1x` is not


def encoding_of(model: str | None) -> tuple[str, bool]:
    """The name of a model's encoding, and whether the table knows the model. The name may be a provider's path
    (`openai/gpt-4o`) or a fine-tuned model's (`ft:gpt-4o:acme`)."""
    if model is not None:
        name = model.rpartition("/")[2].lower().removeprefix("ft:")
        for prefix in _LONGEST_FIRST:
            if name.startswith(prefix) and (prefix.endswith("-") or _END.match(name, len(prefix))):
                return _MODELS[prefix], True
    return NEWEST, False
