"""reserve and settle, the pure part: how much to take, and what it came to.

Take the worst case at admission (input + the output that may come, priced at the dearest attempt); give back at the
end what was not used. `Basis` says how sure the final charge is.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from gateway.limits.scopes import Account, Lease

if TYPE_CHECKING:
    from gateway.limits.line import Line

BOUND = "bytes"  # input: a token for each byte, which no text exceeds
ESTIMATED = "estimate"  # input: what text of its kind comes to at most, unless it was made to exceed it


class Basis(StrEnum):
    """Who said what an exchange used."""

    PROVIDER = "provider"  # the provider's own usage
    COUNTED = "counted"  # our count of what passed: the provider said nothing, or nothing credible
    RESERVED = "reserved"  # the process died; the lease expired and was charged as reserved
    ABANDONED = "abandoned"  # a provider worked on it and nobody received it; charged as reserved
    NOTHING = "nothing"  # no byte left for a provider, or it refused before it worked


class Estimate(msgspec.Struct, frozen=True):
    """The worst case of a request in tokens and nano-USD. `by`: BOUND, ESTIMATED, or the encoding that the input was
    counted in."""

    input_tokens: int
    output_tokens: int
    nano_usd: int
    by: str = ESTIMATED

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


NONE = Estimate(0, 0, 0)


class Usage(msgspec.Struct, frozen=True):
    """Tokens that an exchange used, in one vocabulary for all dialects. `cached`, `cache_write`, `audio_input` and
    `image_input` are parts of `input_tokens`, `cache_write_1h` of `cache_write`; `reasoning`, `audio_output` and
    `image_output` are parts of `output_tokens`."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    basis: Basis = Basis.PROVIDER
    cache_write_1h: int = 0
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_output: int = 0

    @property
    def in_parts(self) -> bool:
        """Whether any part may have a price of its own."""
        return bool(
            self.cached or self.cache_write or self.audio_input or self.audio_output or self.image_input
            or self.image_output
        )  # fmt: skip


class Reservation(msgspec.Struct, frozen=True):
    """Evidence that every limit was asked and holds the estimate, by the `lease` of a store. Where no limit applies
    both are None, and `account` says whose usage it is. `cap`: the output tokens of each choice that the request must
    leave with. `line`: how far a stream may go before it asks for more."""

    held: Estimate | None
    lease: Lease | None = None
    cap: int | None = None
    line: Line | None = None
    account: Account | None = None
