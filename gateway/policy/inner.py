"""What a body holds inside: the requests of a batch, the lines of a batch's file, a session that is to be opened, a
hosted tool's model. The same rules hold for each of them as for a request of its own. Pure.

Nothing can be set in there on the way out (`force`, a `max` that was left open), so it has to be there already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from gateway.endpoints import Endpoint, find
from gateway.errors import Reason, Refusal
from gateway.forms import Form
from gateway.json_object import BadJson, parse_object
from gateway.policy.compiled import RequestRules
from gateway.policy.parameters import Edits, govern
from gateway.reading import READ_KEYS, Ask

# Objects in a body that name a model of their own: endpoint → the member that holds one.
_MEMBERS = {"realtime": "session", "live": "session", "evals": "data_source"}
_LINE = frozenset((b"body", b"url", b"method"))
_EVENT = frozenset((b"type", b"session", b"response"))
_NAMES_MODEL = frozenset((b"model",))
BATCH = "batch"  # the `purpose` of a file whose lines are requests

PIECES = "A batch's file cannot be uploaded in parts, since its lines have to be read; upload it with POST /v1/files."

Check = Callable[[str], Refusal | None]  # of a model's name


def inner_refusal(rules: RequestRules, ask: Ask, model: Check, tool_model: Check) -> Refusal | None:
    """The first rule that something inside of the body breaks. `model` and `tool_model` check a name."""
    try:
        if ask.endpoint.name == "uploads" and _text(ask.fields.get("purpose")) == BATCH:
            return Refusal(Reason.PARAMETER_NOT_ALLOWED, PIECES, "purpose")
        for where, inner in _inner(ask):
            if (refusal := _refusal(rules, where, inner, model)) is not None:
                return refusal
        for name in _tool_models(ask.fields):
            if (refusal := tool_model(name)) is not None:
                return refusal
    except BadJson as error:
        return Refusal(Reason.BAD_REQUEST, f"We could not read the JSON body of your request: {error}")
    return None


def form_refusal(rules: RequestRules, ask: Ask) -> Refusal | None:
    """The first rule that a form breaks, as far as it was read."""
    if not isinstance(ask.rest, Form):
        return None
    guard = FormGuard(rules, ask.endpoint, lambda _: None)
    return next((no for one in ask.rest.fields if (no := guard.field(one.name, one.value)) is not None), None)


def event_refusal(rules: RequestRules, endpoint: Endpoint, model: Check, data: bytes) -> Refusal | None:
    """The first rule that an event of a realtime client breaks, in the session or the response that it asks for."""
    if not any(hint in data for hint in (b'"session"', b'"response"', b"\\u")):
        return None
    try:
        event = parse_object(data, _EVENT)
        for member in ("session", "response"):
            if bytes(event.get(member, b"")).startswith(b"{"):
                inner = _ask(endpoint, bytes(event[member]))
                if (refusal := _refusal(rules, member, inner, model)) is not None:
                    return refusal
    except BadJson as error:
        return Refusal(Reason.BAD_REQUEST, f"We could not read the event: {error}")
    return None


class FormGuard:
    """What holds for the rest of a form: the port `FormRules`."""

    def __init__(self, rules: RequestRules, endpoint: Endpoint, model: Check) -> None:
        self._rules = rules
        self._endpoint = endpoint
        self._model = model
        self._purpose: str | None = None
        self._unread = False  # a line that is no JSON object that we can read has passed

    def field(self, name: str, value: str) -> Refusal | None:
        """A field, as a request's parameter of that name: a number where it looks like one."""
        if name == "purpose" and self._endpoint.name in ("files", "uploads"):
            if self._purpose is not None:
                return Refusal(Reason.BAD_REQUEST, "The form names its purpose twice.", "purpose")
            self._purpose = value
            if value == BATCH and self._unread:
                return _unreadable()
        try:
            raw = msgspec.Raw(value.encode() if isinstance(msgspec.json.decode(value), int | float | bool) else b"")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raw = msgspec.Raw(b"")
        raw = raw if bytes(raw) else msgspec.Raw(msgspec.json.encode(value))
        name = name.partition("[")[0]  # `image[]`, `tools[0][type]`
        body = b"{%b:%b}" % (msgspec.json.encode(name), bytes(raw))
        return _governed(self._rules, "", Ask(self._endpoint, body, {name: raw}))

    def line(self, line: bytes) -> Refusal | None:
        """A line of a file, which may be a request of a batch."""
        if self._purpose not in (None, BATCH):
            return None
        try:
            members = parse_object(line, _LINE)
            body = members.get("body")
            if body is None:
                return None
            url = msgspec.json.decode(members["url"]) if "url" in members else ""
            inner = _ask(_endpoint_of(url), bytes(body))
        except (BadJson, msgspec.MsgspecError):
            self._unread = True
            return _unreadable() if self._purpose == BATCH else None
        return _refusal(self._rules, "a line of the file", inner, self._model)


def _unreadable() -> Refusal:
    return Refusal(Reason.BAD_REQUEST, "A line of the batch's file is no JSON object that could be read.")


def _inner(ask: Ask) -> Iterator[tuple[str, Ask]]:
    """Every request inside of a body, and where it stands. Raises BadJson."""
    if ask.endpoint.name == "message_batches" and "requests" in ask.fields:
        endpoint = find("POST", "/v1/messages")
        assert endpoint is not None  # noqa: S101  # INVARIANT: the table of endpoints has it
        for at, one in enumerate(_objects(ask.fields["requests"])):
            where = f"requests[{at}].params"
            if (params := parse_object(one, frozenset((b"params",))).get("params")) is not None:
                yield where, _ask(endpoint, bytes(params))
    member = _MEMBERS.get(ask.endpoint.name)
    if member is not None and bytes(ask.fields.get(member, b"")).startswith(b"{"):
        yield member, _ask(ask.endpoint, bytes(ask.fields[member]))


def _ask(endpoint: Endpoint, body: bytes) -> Ask:
    fields = parse_object(body, READ_KEYS)
    name = fields.get("model")
    model = msgspec.json.decode(name) if name is not None else None
    return Ask(endpoint, body, fields, model=model if isinstance(model, str) else None)


def _endpoint_of(url: object) -> Endpoint:
    found = find("POST", url) if isinstance(url, str) else None
    return found if found is not None else Endpoint("other", "opaque", "POST", "/")


def _text(raw: msgspec.Raw | None) -> object:
    return msgspec.json.decode(raw) if raw is not None else None


def _objects(raw: msgspec.Raw) -> list[bytes]:
    try:
        found = msgspec.json.decode(raw, type=list[msgspec.Raw])
    except msgspec.MsgspecError:
        return []  # no array: the provider refuses it in its own words
    return [bytes(one) for one in found if bytes(one).startswith(b"{")]


def _tool_models(fields: Mapping[str, msgspec.Raw]) -> Iterator[str]:
    for tool in _objects(fields["tools"]) if "tools" in fields else ():
        name = parse_object(tool, _NAMES_MODEL).get("model")
        said = msgspec.json.decode(name) if name is not None else None
        if isinstance(said, str):
            yield said


def _refusal(rules: RequestRules, where: str, inner: Ask, model: Check) -> Refusal | None:
    if inner.model is not None and (refusal := model(inner.model)) is not None:
        return refusal
    for name in _tool_models(inner.fields):
        if (refusal := model(name)) is not None:
            return refusal
    return _governed(rules, where, inner)


def _governed(rules: RequestRules, where: str, inner: Ask) -> Refusal | None:
    edits: Edits | Refusal = govern(rules, inner)
    if isinstance(edits, Refusal):
        return edits
    for name, value in edits:
        raw = inner.fields.get(name)
        if raw is None or msgspec.json.decode(raw) != value:
            rule = next((rule for one, _, rule in (*rules.force, *rules.max) if one in (name, "output_tokens")), None)
            what = f"must set '{name}' to {msgspec.json.encode(value).decode()[:100]}"
            place = f" in {where}" if where else ""
            message = f"This key {what}{place}; the gateway cannot set it there."
            return Refusal(Reason.PARAMETER_NOT_ALLOWED, message, name, rule)
    return None
