"""estimate: how much a request may come to, before it is sent, with no counting. Pure. `worst_case.py` counts.

Text, where it is estimated: one token for two bytes of ASCII and one for any other byte. English takes four bytes a
token, JSON and code about three, digits and random letters two; only noise made for the purpose comes closer to one.
Such a text is under-estimated, and the settlement charges what it really used (docs/limits.md: what a reservation
bounds). A picture inside the body counts as a picture, not as its base64.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from gateway.limits.pricing import worst
from gateway.limits.reservation import BOUND, ESTIMATED, NONE, Estimate
from gateway.limits.spans import most_spans
from gateway.shapes.table import SHAPES
from gateway.tokens.chat import PICTURE

if TYPE_CHECKING:
    from gateway.policy.compiled import Price
    from gateway.policy.permit import Permit
    from gateway.reading import Ask
    from gateway.shapes.shape import Shape

PLACEHOLDER = 24  # tokens of one placeholder at most: it is shorter than 48 bytes of ASCII
# A data URL, or Anthropic's bare base64 (of at least 300 bytes; what is shorter may be a word).
_INLINE = re.compile(rb'data:[\w.+/-]+;base64,[A-Za-z0-9+/=\\]*|"data"\s*:\s*"[A-Za-z0-9+/=\\]{400,}"')
_BASE64 = re.compile(rb"base64")
SIXES = 64  # that are looked at one by one; where there are more, the rest is searched at once
_ASCII = bytes(range(128))


def estimate(permit: Permit, prices: Sequence[Price | None], *, clean: bool = False) -> Estimate:
    """The worst case of a permitted request; `prices` are those of the attempts that may be made, `clean` says that it
    is known to hold nothing to redact. A call whose body the gateway does not read is estimated at nothing (a key with
    a token or money limit may not make one)."""
    return bound(permit, prices, likely, ESTIMATED, clean=clean)


def counted_input(
    permit: Permit, prices: Sequence[Price | None], tokens: int, by: str, *, clean: bool = False
) -> Estimate:  # fmt: skip
    """The same with an input that was counted; `by` says in which encoding."""
    return bound(permit, prices, lambda _: tokens, by, clean=clean)


def likely(body: bytes) -> int:
    """Tokens of a body, estimated."""
    text, pictures = _without_pictures(body)
    other = len(text.translate(None, _ASCII))
    return -(-(len(text) - other) // 2) + other + pictures * PICTURE


def _most(body: bytes) -> int:
    if b"6" not in body:  # nor `base64`
        return len(body)
    text, pictures = _without_pictures(body)
    return len(text) + pictures * PICTURE


def bound(
    permit: Permit, prices: Sequence[Price | None], of: Callable[[bytes], int] = _most, by: str = BOUND, *,
    clean: bool = False,
) -> Estimate:  # fmt: skip
    """The same with an input that no text exceeds: a token for each byte; or with what `of` makes of the body."""
    ask = permit.ask
    body, fields, shape = ask.body, ask.fields, SHAPES.get(ask.endpoint.shape)
    if body is None or shape is None or shape.free:
        return NONE
    tokens, output = of(body), shape.default_output
    if not clean and (profile := permit.redaction) is not None and profile.marks is not None:
        tokens += PLACEHOLDER * most_spans(profile.marks, body)
    if output:
        if permit.edits or ask.choices != 1 or "prompt" in fields or "best_of" in fields:
            output = _output_tokens(permit, shape)
        elif ask.max_output_tokens is not None:
            output = ask.max_output_tokens
    if len(prices) == 1:  # as there mostly is
        return Estimate(tokens, output, worst(tokens, output, prices[0]), by)
    return Estimate(tokens, output, max((worst(tokens, output, price) for price in prices), default=0), by)


def _without_pictures(body: bytes) -> tuple[bytes, int]:
    return _INLINE.subn(b"", body) if _says_base64(body) else (body, 0)


def _says_base64(body: bytes) -> bool:
    """Whether `base64` stands in it. Most prompts hold few sixes, and to look for one byte takes a fiftieth of the time
    that a word takes."""
    at = body.find(b"6")
    for _ in range(SIXES):
        if at < 0:
            return False
        if body.startswith(b"base64", at - 4):
            return True
        at = body.find(b"6", at + 1)
    return at >= 0 and _BASE64.search(body, max(0, at - 4)) is not None


def parts(permit: Permit) -> int:
    """Choices times prompts: how many outputs there are, each with the maximum that the request names."""
    ask = permit.ask
    choices = ask.choices
    for name, value in permit.edits:
        if name == "n" and isinstance(value, int):
            choices = value
    if "best_of" in ask.fields:
        choices = max(choices, _best_of(ask))
    return max(1, choices) * _prompts(ask)


def output_name(permit: Permit) -> str | None:
    """The parameter by which a caller bounds the output: the one that stands in the request, else the one that most
    write; None where there is no output."""
    shape = SHAPES.get(permit.ask.endpoint.shape)
    names = shape.output_names if shape is not None else ()
    said = [name for name in names if name in permit.ask.fields]
    return said[0] if said else "max_tokens" if "max_tokens" in names else next(iter(names), None)


def _output_tokens(permit: Permit, shape: Shape) -> int:
    """Tokens that may come, over all choices and prompts."""
    ask = permit.ask
    each = ask.max_output_tokens
    for name, value in permit.edits:  # what policy forces or caps is what is sent
        if name in shape.output_names and isinstance(value, int):
            each = value
    if each is None:
        each = shape.default_output
    return max(0, each) * parts(permit)


def _best_of(ask: Ask) -> int:
    value = _decoded(ask, "best_of")
    return value if isinstance(value, int) else 1


def _prompts(ask: Ask) -> int:
    """A completion may hold several prompts, and each is answered (a list of numbers is one prompt in tokens)."""
    if ask.endpoint.shape != "completions":
        return 1
    prompt = _decoded(ask, "prompt")
    return len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1


def _decoded(ask: Ask, name: str) -> object:
    raw = ask.fields.get(name)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except msgspec.MsgspecError:
        return None  # the provider refuses it in its own words
