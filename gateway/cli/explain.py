"""`gateway explain`: which line of which file says so, for what would happen and for what did."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from gateway.cli.opening import CONFIG, open_policies, open_settings
from gateway.endpoints import Endpoint
from gateway.errors import REFUSALS, Refusal, Rule
from gateway.identity.principal import Principal
from gateway.policy.compiled import PolicySet
from gateway.policy.decide import decide
from gateway.policy.in_force import BUILT_IN, with_demo_key
from gateway.policy.permit import Permit, decision_id
from gateway.reading import Ask
from gateway.routing.plan import eligible, plan

_DECISION = re.compile(r"([0-9a-f]{12})\.([0-9]{1,9})")


@click.command()
@click.argument("decision", required=False)
@CONFIG
@click.option("--key", metavar="NAME", help="The key that would call.")
@click.option("--model", metavar="MODEL", help="The model it would ask for, in a chat.")
def explain(decision: str | None, config: Path | None, key: str | None, model: str | None) -> None:
    """Say what would be decided for --key and --model, or which rule was behind a DECISION.

    DECISION is what a response's header x-gateway-decision holds, such as 1a2b3c4d5e6f.17. It is resolved offline, by
    the policies that are there now; where it was made by others, that is said, and the exit code is 1.
    """
    if (decision is None) == (key is None and model is None) or (key is None) != (model is None):
        raise click.UsageError("give a DECISION, or --key and --model")
    settings = open_settings(config)
    policy, files = open_policies(settings)
    if not policy.keys and (decision is not None or settings.demo):
        policy = with_demo_key(policy, b"")  # another secret with each start, the same rules
    if decision is not None:
        lines, well = _resolved(policy, files, decision)
    else:
        left_out = {name: reason for name, one in settings.providers.items() if (reason := one.missing_key())}
        lines, well = _foreseen(policy, files, key or "", model or "", time.time(), left_out)
    for line in lines:
        click.echo(line)
    if not well:
        raise SystemExit(1)


def _resolved(policy: PolicySet, files: Mapping[str, str], decision: str) -> tuple[list[str], bool]:
    match = _DECISION.fullmatch(decision)
    if match is None:
        raise click.BadParameter("twelve hex digits, a dot and a number", param_hint="DECISION")
    if match[1] != policy.hash[:12]:
        return [
            f"Decision {decision} was made by other policies: those that are here now are {policy.hash[:12]}.",
            "Point --config at the policies of that time to resolve it.",
        ], False
    rule = next((one for one in policy.rules if one.number == int(match[2])), None)
    if rule is None:
        if int(match[2]) == 0:
            return [f"Decision {decision}: no rule of these policies, the gateway itself decided."], True
        return [f"These policies have no rule number {match[2]}."], False
    return [f"Decision {decision}: {rule.path}", *_quoted(rule, files)], True


def _foreseen(
    policy: PolicySet, files: Mapping[str, str], name: str, model: str, now: float, left_out: Mapping[str, str]
) -> tuple[list[str], bool]:
    key = policy.keys.get(name)
    if key is None:
        return [f"No key is called '{name}'. There are: {', '.join(sorted(policy.keys)) or 'none'}."], False
    lines = []
    at = datetime.fromtimestamp(now, UTC)
    if key.expires is not None and key.expires <= at:
        lines += [f"Refused, 401: the key expired at {key.expires.isoformat()}.", *_quoted(key.rule, files)]
        return lines, True
    if not any(secret.expires is None or secret.expires > at for secret in key.secrets):
        lines += ["Refused, 401: none of the key's secrets is valid any more.", *_quoted(key.rule, files)]
        return lines, True
    ask = Ask(Endpoint("chat", "chat", "POST", "/chat/completions"), None, model=model)
    permit = decide(policy, Principal(key, "explain"), ask, now)
    route = permit if isinstance(permit, Refusal) else plan(permit, 0.0, now)
    if isinstance(route, Refusal):
        status = REFUSALS[route.reason].status
        lines.append(f"Refused, {status} {REFUSALS[route.reason].code or route.reason.value}: {route.message}")
        if isinstance(permit, Permit):
            lines += _why_nobody(policy, permit, files, left_out)
        lines += _quoted(route.rule, files) if route.rule is not None else []
        return [*lines, f"Decision {decision_id(policy, route.rule)}"], True
    assert isinstance(permit, Permit)  # noqa: S101  # INVARIANT: else the route were its refusal
    return [*_allowed(policy, permit, files)], True


def _why_nobody(
    policy: PolicySet, permit: Permit, files: Mapping[str, str], left_out: Mapping[str, str]
) -> Iterator[str]:
    """What is wrong with each version of a model that no provider may serve."""
    enabled = {version.name for model, _ in permit.models[:1] for version in model.versions}
    for model, _ in permit.models[:1]:
        whole = policy.models.get(model.name, model)
        for version in whole.versions:
            facts = policy.providers.get(version.provider)
            if version.name not in enabled:
                why = "is disabled"
            elif facts is None or not facts.available:
                reason = left_out.get(version.provider, "it is not in the settings")
                why = f"provider {version.provider} is left out: {reason}"
            else:
                missing = (f"{name} = {value}" for name, value in permit.require if (name, value) not in facts.labels)
                why = f"provider {version.provider} lacks the required label {', '.join(missing)}"
            yield f"  version {version.name}: {why}"
            yield from _quoted(version.rule, files)


def _allowed(policy: PolicySet, permit: Permit, files: Mapping[str, str]) -> Iterator[str]:
    yield f"Allowed by {permit.rule.path}"
    yield from _quoted(permit.rule, files)
    for model, rest in permit.models:
        versions = eligible(policy, model, permit.require)
        total = sum(version.weight for version in versions)
        yield f"Model {model.name}:" if versions else f"Model {model.name}: no provider may serve it"
        for version in versions:
            upstream = rest if version.model == "*" else version.model
            share = f", {100 * version.weight / total:.3g} % of calls" if total else ""
            yield f"  version {version.name}: {upstream} at {version.provider}{share}"
            yield from _quoted(version.rule, files)
    if permit.redaction is not None:
        profile = permit.redaction
        yield f"Redaction {profile.name}: {profile.action} {', '.join(profile.entities)}"
        yield from _quoted(profile.rule, files) if profile.rule is not None else ()
    else:
        yield "No redaction"
    for scope in permit.scopes:
        for limit in scope.limits:
            amount = f"{limit.amount / 1e9:g}" if limit.unit == "usd" else str(limit.amount)
            shadow = ", only watched" if limit.shadow else ""
            yield f"Limit of {scope.id}: {limit.name} = {amount}{shadow}"
            yield from _quoted(limit.rule, files)
    for name, value in permit.edits:
        yield f"Set on the way out: {name} = {value!r}"
    yield f"Decision {permit.decision}"


def _quoted(rule: Rule, files: Mapping[str, str]) -> list[str]:
    """Where a rule stands, and the line itself."""
    if rule.file == BUILT_IN:
        return [f"    {BUILT_IN}: there while the policies have no key, on loopback with memory://"]
    text = files.get(rule.file, "").splitlines()
    line = text[rule.line - 1].strip() if 0 < rule.line <= len(text) else ""
    return [f"    {rule.file}:{rule.line}: {line}"]
