"""What a caller may ask of a model: a key's `request` rules on one body. Pure.

`max` and `deny` hold wherever a JSON body was read. What is set on the way out (`force`, and a `max` of output tokens
that the caller left open) is set where the endpoint is known to take it, since an endpoint refuses a parameter that it
does not know; on every other path it is set where the caller set it.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gateway.errors import Reason, Refusal, Rule
from gateway.json_object import BadJson, has_duplicates, parse_object
from gateway.policy.compiled import OUTPUT, TOOLS, RequestRules
from gateway.reading import OUTPUT_NAMES, Ask
from gateway.shapes.table import SHAPES

Edits = tuple[tuple[str, object], ...]


def govern(rules: RequestRules, ask: Ask) -> Edits | Refusal:
    """The parameters to set on the way out, or the first rule that the body breaks."""
    if not (rules.max or rules.force or rules.deny) or ask.body is None:
        return ()
    if has_duplicates(ask.body, ask.fields):  # a provider may take the other one of the two
        return Refusal(Reason.BAD_REQUEST, "The JSON body of your request holds a key twice; send each key once.")
    # Of many denied parameters only those are looked at that are there: what a request costs goes by its own size.
    there = [rules.denied[name] for name in ask.fields if name in rules.denied]
    to_ask = sorted({*there, *rules.looked_for}) if there else rules.looked_for
    types = _tool_types(ask) if any(rules.deny[place][0].startswith(TOOLS) for place in to_ask) else ()
    for name, rule in (rules.deny[place] for place in to_ask):
        if (refusal := _denied(name, rule, ask, types)) is not None:
            return refusal
    for name, most, rule in rules.max:
        if (refusal := _too_much(name, most, rule, ask)) is not None:
            return refusal
    return tuple(_edits(rules, ask))


def capped(edits: Edits, ask: Ask, cap: int) -> Edits:
    """The edits with every maximum of output at most `cap`, and one set where the request has none."""
    set_here = dict(edits)
    shape = SHAPES.get(ask.endpoint.shape)
    names = [own for own in OUTPUT_NAMES if own in set_here or _is_set(ask, own)]
    for own in names or (shape.output_names[:1] if shape is not None else ()):
        value = set_here[own] if own in set_here else _decoded(ask, own) if _is_set(ask, own) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or value > cap:
            set_here[own] = cap
    return tuple(set_here.items())


def _is_set(ask: Ask, name: str) -> bool:
    raw = ask.fields.get(name)
    return raw is not None and bytes(raw) != b"null"


def _denied(name: str, rule: Rule, ask: Ask, types: tuple[str, ...] | None) -> Refusal | None:
    kind = name.removeprefix(TOOLS)
    if kind != name:
        return _denied_tool(kind, rule, ask, types)
    for own in OUTPUT_NAMES if name == OUTPUT else (name,):
        if _is_set(ask, own):
            return Refusal(
                Reason.PARAMETER_NOT_ALLOWED, f"This key may not set '{own}'; send the request without it.", own, rule
            )
    return None


def _denied_tool(kind: str, rule: Rule, ask: Ask, types: tuple[str, ...] | None) -> Refusal | None:
    """A tool by its type, in all its versions (`web_search_preview`, `web_search_2025_08_26`), and by the parameters
    that bring the same tool under another name."""
    message = f"This key may not use the tool '{kind}'; send the request without it."
    if types is None or any(one == kind or one.startswith(f"{kind}_") for one in types):
        return Refusal(Reason.PARAMETER_NOT_ALLOWED, message, "tools", rule)
    other = {"web_search": "web_search_options", "function": "functions"}.get(kind)
    if other is not None and _is_set(ask, other):
        return Refusal(Reason.PARAMETER_NOT_ALLOWED, message, other, rule)
    return None


def _tool_types(ask: Ask) -> tuple[str, ...] | None:
    """The types of the tools asked for; None where one cannot be told, since it says its type twice."""
    raw = ask.fields.get("tools")
    if raw is None:
        return ()
    try:
        tools = msgspec.json.decode(raw, type=list[msgspec.Raw])
    except msgspec.MsgspecError:
        return ()  # no array: the provider refuses it in its own words
    types = []
    for tool in tools:
        if not bytes(tool).startswith(b"{"):
            continue
        try:
            kind = parse_object(bytes(tool), frozenset((b"type",))).get("type")
        except BadJson:
            return None
        said = msgspec.json.decode(kind) if kind is not None else None
        if isinstance(said, str):
            types.append(said)
    return tuple(types)


def _too_much(name: str, most: int, rule: Rule, ask: Ask) -> Refusal | None:
    for own in OUTPUT_NAMES if name == OUTPUT else (name,):
        if not _is_set(ask, own):
            continue
        asked = _decoded(ask, own)
        if isinstance(asked, bool) or not isinstance(asked, int | float):
            message = f"'{own}' must be a number of at most {most} for this key."
        elif asked > most:
            message = f"This key may ask for at most {most} in '{own}', and the request asks for {asked}; lower it."
        else:
            continue
        return Refusal(Reason.PARAMETER_NOT_ALLOWED, message[:300], own, rule)
    return None


def _decoded(ask: Ask, name: str) -> object:
    try:
        return msgspec.json.decode(ask.fields[name])
    except msgspec.MsgspecError:
        return None


def _edits(rules: RequestRules, ask: Ask) -> Iterator[tuple[str, object]]:
    there = [own for own in OUTPUT_NAMES if _is_set(ask, own)]
    shape = SHAPES.get(ask.endpoint.shape)
    output_name = next(iter(shape.output_names), None) if shape is not None else None
    bounded = bool(there)
    for name, value, _ in rules.force:
        if name == OUTPUT:
            for own in there or ((output_name,) if output_name is not None else ()):
                yield own, value
            bounded = True
        elif name in ask.fields or (shape is not None and (shape.takes is None or name in shape.takes)):
            yield name, value
            bounded = bounded or name in OUTPUT_NAMES
    most = next((most for name, most, _ in rules.max if name == OUTPUT), None)
    if most is not None and not bounded and output_name is not None:
        yield output_name, most
