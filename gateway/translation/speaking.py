"""The step of a journey that puts a request into its provider's dialect. Pure."""

from __future__ import annotations

from collections.abc import AsyncIterator

from gateway.errors import Reason, Refusal
from gateway.ports import Provider
from gateway.reading import Ask
from gateway.translation.losses import Untranslatable
from gateway.translation.pairs import CLIENTS, Translation

Body = bytes | AsyncIterator[bytes] | None


def spoken(
    ask: Ask, provider: Provider, body: Body, *, drop: bool, created: int, name: str = ""
) -> tuple[Body, Translation | None] | Refusal:
    """The body that the provider reads, and the way back of its answer; None where both speak the same. `drop`: policy
    lets parameters fall that cannot be expressed; `created` in Unix seconds; `name`: see Translation."""
    endpoint = ask.endpoint
    if (provider.beside and not endpoint.visible) or endpoint.shape in provider.speaks:
        return body, None
    if endpoint.shape not in CLIENTS or not isinstance(body, bytes):
        return Refusal(
            Reason.UNTRANSLATABLE,
            f"The provider of this model ({provider.kind}) does not offer '{endpoint.path[:60]}', and there is no "
            "translation of it.",
            "model",
        )
    translation = Translation(endpoint.shape, provider.dialect, created, name)
    try:
        return translation.request(body, drop=drop), translation
    except Untranslatable as error:
        return Refusal(Reason.UNTRANSLATABLE, str(error), error.field or None)
