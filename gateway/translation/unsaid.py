"""What several dialects have no place for, and how that is told. Pure."""

from __future__ import annotations

from gateway.translation.losses import Losses
from gateway.translation.neutral import Call, Document, Format, Image

OPENAI = "openai:"  # before what OpenAI sealed of a thought, which says nothing to others


def label_hints(wanted: Format, losses: Losses, *kept: str) -> None:
    """A schema's name and description, where a dialect has no place for them; and that a schema need not be kept to,
    where it always is."""
    for name in ("name", "description"):
        if name not in kept and getattr(wanted, name) is not None:
            losses.hint(f"format.{name}")
    if wanted.strict is False and "strict" not in kept:
        losses.hint("format.strict")


def signature_hint(call: Call, losses: Losses) -> None:
    """What Gemini wants back with a call says nothing to others."""
    if call.signature is not None:
        losses.hint("messages.tool_calls.extra_content")


def name_hint(document: Document, losses: Losses) -> None:
    """A document's name, where it has no place."""
    if document.name is not None:
        losses.hint("messages.content.file.filename")


def detail_hint(image: Image, losses: Losses) -> None:
    """How closely to look at a picture, where that cannot be said."""
    if image.detail is not None:
        losses.hint("messages.content.image_url.detail")
