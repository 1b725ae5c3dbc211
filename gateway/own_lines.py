"""What the head of an answer says of its exchange: whose it is, by which decision, from which version, and how limits
stand. Lines of text, since that is what they become. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.fields import lines_of

if TYPE_CHECKING:
    from gateway.exchange import Exchange

LONGEST_LIST = 1000  # characters of the names that a dialect has no words for


def answer_lines(exchange: Exchange) -> str:
    """All of them; limits as the reservation found them."""
    attempt, reservation = exchange.attempt, exchange.reservation
    if attempt is None or exchange.refusal is not None or exchange.dropped:
        lines = own_lines(exchange)
    else:
        lines = exchange.dialect.id_lines(exchange.request_id) + attempt.lines
    if reservation is None or (lease := reservation.lease) is None:
        return lines
    return lines + exchange.dialect.limit_lines(lease.remaining, exchange.started_at)


def own_lines(exchange: Exchange) -> str:
    """The request's id, the decision, the version that was called, and what its dialect could not express."""
    attempt = exchange.attempt
    if attempt is not None and exchange.refusal is None:
        own = attempt.lines
    else:
        own = decision_lines(exchange.decision, attempt.version if attempt is not None else None)
    if exchange.dropped:
        own += lines_of((("x-gateway-dropped", ", ".join(exchange.dropped)[:LONGEST_LIST]),))
    return exchange.dialect.id_lines(exchange.request_id) + own


def decision_lines(decision: str, version: str | None = None) -> str:
    """By which decision an answer comes, from which version of its model."""
    own = (("x-gateway-decision", decision),)
    return lines_of(own if version is None else (*own, ("x-gateway-model-version", version)))
