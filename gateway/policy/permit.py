"""The evidence of deciding: what the policy set allows of this very request. Pure; only `decide.py` makes one."""

from __future__ import annotations

import msgspec

from gateway.errors import Rule
from gateway.identity.principal import Principal
from gateway.limits.bounds import Bounds, bounds_of
from gateway.limits.scopes import Scope
from gateway.limits.usage import row_name
from gateway.policy.compiled import Decided, Model, PolicySet, RedactionProfile
from gateway.reading import Ask


class Permit(msgspec.Struct, frozen=True):
    """Allowed, and on which terms. `models` are the asked model and its permitted fallbacks in order, each with what
    its wildcard stands for; empty where the call names no model, and then `provider` serves it."""

    policy: PolicySet
    principal: Principal
    ask: Ask
    rule: Rule  # the rule that allowed it; a refusal carries its own
    models: tuple[tuple[Model, str], ...] = ()
    provider: str | None = None
    require: tuple[tuple[str, str], ...] = ()  # labels that a provider must bear
    scopes: tuple[Scope, ...] = ()
    redaction: RedactionProfile | None = None
    edits: tuple[tuple[str, object], ...] = ()  # body parameters to set on the way out: `force`, and a capped `max`
    labels: tuple[tuple[str, str], ...] = ()
    decided: Decided | None = None  # what this permit shares with those of calls like it

    @property
    def decision(self) -> str:
        """What `x-gateway-decision` carries and `gateway explain` resolves: policy hash and rule number."""
        return decision_id(self.policy, self.rule)

    @property
    def bounds(self) -> Bounds:
        """What its limits come to, looked at all together."""
        return self.decided.bounds if self.decided is not None else bounds_of(self.scopes)

    @property
    def row(self) -> str:
        """The usage row that the call adds to."""
        if self.decided is not None:
            return self.decided.row
        key = self.principal.key
        return row_name(key.id, key.team, key.labels, self.models[0][0].name if self.models else "")


def decision_id(policy: PolicySet, rule: Rule | None) -> str:
    """`<policy hash, 12 characters>.<rule number>`."""
    return f"{policy.hash[:12]}.{rule.number if rule is not None else 0}"
