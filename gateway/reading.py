"""read: what a client asks, as far as the gateway must know it. The rest stays the bytes that came.

A JSON body is held, and its top level is split without decoding the values. A multipart body is only looked into, as
far as its `model` field (`forms.py`). Everything else streams.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from gateway.errors import Reason, Refusal
from gateway.fields import Fields
from gateway.forms import read_form
from gateway.json_object import BadJson, is_array, parse_object
from gateway.shapes.table import SHAPES

if TYPE_CHECKING:
    from gateway.endpoints import Endpoint
    from gateway.ports import Arrival

T = TypeVar("T")
OUTPUT_NAMES = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_HEADING = frozenset((
    "x-gateway-timeout", "x-gateway-tags", "x-gateway-user", "x-gateway-session", "x-gateway-conversation",
    "x-gateway-version", "x-request-id", "x-client-request-id",
))  # fmt: skip

# Top-level keys that the gateway reads; a body that has one of them twice could mean two things (design: "what was
# checked is what is sent").
READ_KEYS = frozenset(
    b"model messages prompt input stream stream_options max_tokens max_completion_tokens n best_of user tools store"
    b" metadata functions tool_choice max_output_tokens instructions system previous_response_id conversation"
    b" background requests session data_source purpose service_tier".split()
)


class Ask(msgspec.Struct, frozen=True):
    """What is asked. `fields` holds the body's top-level values undecoded, so that what is not touched leaves as it
    came; it is empty where the body is not a JSON object. `body` is None where there is none or it streams through,
    and then `rest` is what there is to stream."""

    endpoint: Endpoint
    body: bytes | None
    fields: Mapping[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    model: str | None = None
    stream: bool = False
    include_usage: bool = False  # the client itself asked for the usage chunk
    max_output_tokens: int | None = None
    choices: int = 1  # `n`
    previous_response_id: str | None = None  # the stored response that this one continues
    user: str | None = None
    session: str | None = None
    conversation: str | None = None
    version: str | None = None
    tags: tuple[str, ...] = ()
    timeout: float | None = None  # seconds
    client_request_id: str | None = None  # recorded beside ours, never used to identify anything
    rest: AsyncIterator[bytes] | None = None
    upgrade: bool = False  # to a WebSocket

    @property
    def first_turn(self) -> str | None:
        """System message and first user message, as a conversation's own mark; None where there are none, and where
        the provider holds the first turn."""
        turns = [bytes(self.fields[name]).decode() for name in ("system", "instructions") if name in self.fields]
        raw = self.fields.get("messages", self.fields.get("input"))
        if raw is None or self.previous_response_id is not None or self.endpoint.shape == "embeddings":
            return None
        messages = msgspec.json.decode(raw)
        for message in messages if isinstance(messages, list) else (messages,):
            turns.append(msgspec.json.encode(message).decode())
            if not isinstance(message, dict) or message.get("role") == "user":
                break
        return "\n".join(turns)


def writes_json(ask: Ask) -> bool:
    """Whether the model is asked to write JSON in place of text."""
    shape = SHAPES.get(ask.endpoint.shape)
    if shape is None or not shape.format or (raw := ask.fields.get(shape.format[0])) is None:
        return False
    try:
        node = msgspec.json.decode(raw)
    except msgspec.MsgspecError:
        return False
    for name in shape.format[1:]:
        node = node.get(name) if isinstance(node, dict) else None
    return isinstance(node, dict) and str(node.get("type", "")).startswith("json")


class Framing:
    """How the body of a request is read."""

    NONE = "none"
    UPGRADE = "upgrade"
    OBJECT = "object"  # held, and its top level split
    PERHAPS = "perhaps"  # held, and read as an object if there is anything of it and we need to know it
    FORM = "form"  # looked into as far as its model
    STREAM = "stream"  # never held


class Manner(msgspec.Struct, frozen=True):
    """What a request's head says of how it is read, and what else it says to us."""

    framing: str
    heading: Mapping[str, Any]


def read_now(arrival: Arrival, endpoint: Endpoint, max_body: int) -> Ask | Refusal | None:
    """Read what is asked where it is mostly as it is here: its head came before, its body has come, and is to be an
    object. None: it is for `read`."""
    headers = arrival.headers
    if type(headers) is not Fields or (known := headers.made.get(Manner)) is None or known[0] is not endpoint:
        return None
    if (heading := known[2]) is None or not (body := arrival.body_now(max_body)):
        return None
    return _read_object(endpoint, body, heading)


async def read(arrival: Arrival, endpoint: Endpoint, max_body: int) -> Ask | Refusal:
    """Read what is asked; `max_body` in bytes bounds what is held. Raises ClientTooSlow, ClientGone."""
    manner = manner_of(arrival.headers, endpoint)
    if isinstance(manner, Refusal):
        return manner
    if manner.framing not in (Framing.OBJECT, Framing.PERHAPS):
        return await _read_other(arrival, endpoint, max_body, manner)
    body = await arrival.body(max_body)
    if body is None:
        return Refusal(Reason.BODY_TOO_LARGE, f"The request's body is larger than {max_body} bytes.")
    if manner.framing == Framing.PERHAPS and (endpoint.shape == "models" or not body.strip()):
        return Ask(endpoint, body or None, **manner.heading)
    return _read_object(endpoint, body, manner.heading)


async def _read_other(arrival: Arrival, endpoint: Endpoint, max_body: int, manner: Manner) -> Ask | Refusal:
    """What is no object that is held."""
    match manner.framing:
        case Framing.UPGRADE:
            return _read_upgrade(endpoint, arrival.headers, manner.heading)
        case Framing.STREAM:
            return Ask(endpoint, None, rest=arrival.stream(), **manner.heading)
        case Framing.FORM:
            form = await read_form(arrival.stream(), arrival.headers["content-type"], endpoint, max_body)
            if isinstance(form, Refusal):
                return form
            return Ask(endpoint, None, model=form.model, rest=form, **manner.heading)
    if endpoint.visible and endpoint.shape != "models":
        return Refusal(Reason.BAD_REQUEST, "The request has no body; a JSON object is expected.")
    return Ask(endpoint, None, **manner.heading)


def manner_of(headers: Mapping[str, str], endpoint: Endpoint) -> Manner | Refusal:
    """How a request is read, by its head. A head that comes again is looked at once."""
    if type(headers) is not Fields:
        return _manner(headers, endpoint)
    if (known := headers.made.get(Manner)) is None or known[0] is not endpoint:
        manner = _manner(headers, endpoint)
        of_object = manner.heading if isinstance(manner, Manner) and manner.framing == Framing.OBJECT else None
        known = headers.made[Manner] = endpoint, manner, of_object
    return known[1]


def _manner(headers: Mapping[str, str], endpoint: Endpoint) -> Manner | Refusal:
    heading = _heading(headers)
    if isinstance(heading, Refusal):
        return heading
    if "upgrade" in headers and not endpoint.visible:
        return Manner(Framing.UPGRADE, heading)
    if not _has_body(headers):
        return Manner(Framing.NONE, heading)
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    is_sdp = content_type == "application/sdp" and endpoint.name == "realtime"
    is_json = endpoint.takes_json and content_type != "multipart/form-data" and not is_sdp
    is_json = is_json or endpoint.visible or content_type == "application/json" or content_type.endswith("+json")
    if not is_json and content_type != "multipart/form-data":
        return Manner(Framing.STREAM, heading)
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        return Refusal(
            Reason.UNSUPPORTED_ENCODING,
            f"Content-Encoding '{encoding[:40]}' is not supported; send the body unencoded.",
        )
    if content_type == "multipart/form-data" and not endpoint.visible:
        return Manner(Framing.FORM, heading)
    return Manner(Framing.OBJECT if endpoint.visible and endpoint.shape != "models" else Framing.PERHAPS, heading)


def _has_body(headers: Mapping[str, str]) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _read_upgrade(endpoint: Endpoint, headers: Mapping[str, str], heading: Mapping[str, Any]) -> Ask | Refusal:
    """A WebSocket, which names its model in the query."""
    if endpoint.name != "realtime" or endpoint.method != "GET" or headers["upgrade"].lower() != "websocket":
        return Refusal(Reason.NO_UPGRADE, "Upgrading the connection (WebSocket) is not supported here.")
    models = [value for name, value in parse_qsl(endpoint.raw_query, max_num_fields=100) if name == "model"]
    if len(models) > 1:
        return Refusal(Reason.BAD_REQUEST, "The query names a model more than once.", "model")
    return Ask(endpoint, None, model=models[0] if models else None, upgrade=True, stream=True, **heading)


def _heading(headers: Mapping[str, str]) -> dict[str, Any] | Refusal:
    """What our own request headers say (design: On the wire)."""
    if _HEADING.isdisjoint(headers):
        return {}
    timeout = None
    if (text := headers.get("x-gateway-timeout")) is not None:
        try:
            timeout = float(text)
        except ValueError:
            timeout = 0.0
        if not 0 < timeout <= 3600:
            return Refusal(Reason.BAD_REQUEST, "x-gateway-timeout must be a number of seconds, above 0 and up to 3600.")
    tags = tuple(tag.strip()[:64] for tag in headers.get("x-gateway-tags", "").split(",") if tag.strip())
    return {
        "user": headers.get("x-gateway-user"),
        "session": headers.get("x-gateway-session"),
        "conversation": headers.get("x-gateway-conversation"),
        "version": headers.get("x-gateway-version"),
        "tags": tags[:16],
        "timeout": timeout,
        "client_request_id": (headers.get("x-request-id") or headers.get("x-client-request-id") or "")[:128] or None,
    }


def _read_object(endpoint: Endpoint, body: bytes, heading: Mapping[str, Any]) -> Ask | Refusal:
    try:
        fields = parse_object(body, READ_KEYS)
    except BadJson as error:
        if not endpoint.takes_json and is_array(body):  # no object, so no model either
            return Ask(endpoint, body, **heading)
        return Refusal(Reason.BAD_REQUEST, f"We could not read the JSON body of your request: {error}")
    if _SELDOM.isdisjoint(fields) and (raw := fields.get("model")) is not None:
        try:
            return Ask(endpoint, body, fields, _string.decode(raw), **heading)
        except msgspec.MsgspecError:
            pass  # no string: what becomes of it is said below
    return _read_more(endpoint, body, fields, heading)


def _read_more(
    endpoint: Endpoint, body: bytes, fields: Mapping[str, msgspec.Raw], heading: Mapping[str, Any]
) -> Ask | Refusal:  # fmt: skip
    """An object of which more is read than its model, or whose model is wrong."""
    try:
        model = _value(fields, "model", str)
        shape = SHAPES.get(endpoint.shape)
        stream = "stream" in fields and (_value(fields, "stream", bool) or False)
        choices = _value(fields, "n", int) if "n" in fields else None
        options = (_value(fields, "stream_options", dict) or {}) if "stream_options" in fields else {}
        maximum = None
        for name in shape.output_names if shape is not None else OUTPUT_NAMES:
            if name in fields and maximum is None:
                maximum = _value(fields, name, int)
        place = shape.user if shape is not None else ("user",)
        if place[0] in fields and heading.get("user") is None:
            heading = {**heading, "user": _user(fields, place)}
        previous = _value(fields, "previous_response_id", str) if "previous_response_id" in fields else None
    except BadJson as error:
        if not endpoint.visible:  # the provider knows the shape of its own endpoints
            return Ask(endpoint, body, fields, **heading)
        return Refusal(Reason.BAD_REQUEST, str(error), param=error.param)
    if endpoint.visible:
        if model is None:
            return Refusal(Reason.BAD_REQUEST, "you must provide a model parameter", param="model")
        if maximum is not None and maximum < 0:
            name = next(name for name in shape.output_names if name in fields) if shape is not None else "max_tokens"
            return Refusal(Reason.BAD_REQUEST, f"{name} must not be negative.", param=name)
        if choices is not None and not 1 <= choices <= 128:
            return Refusal(Reason.BAD_REQUEST, "n must be between 1 and 128.", param="n")
    included = options.get("include_usage") is True
    return Ask(endpoint, body, fields, model, stream, included, maximum, choices or 1, previous, **heading)


# What is read besides the model.
_SELDOM = frozenset((
    "stream", "stream_options", "n", "previous_response_id", "user", *OUTPUT_NAMES,
    *(name for shape in SHAPES.values() for name in (*shape.output_names, shape.user[0])),
))  # fmt: skip
_string = msgspec.json.Decoder(str)
_DECODERS: Mapping[type, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind | None) for kind in (str, bool, int, dict)
}


def _value(fields: Mapping[str, msgspec.Raw], name: str, kind: type[T]) -> T | None:
    """One top-level value, None where it is absent or null. Raises BadJson where its type is wrong."""
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return _DECODERS[kind].decode(raw)  # type: ignore[no-any-return]  # the decoder of that kind
    except msgspec.MsgspecError:
        names = {"str": "a string", "bool": "true or false", "int": "an integer", "dict": "an object"}
        raise BadJson(f"'{name}' must be {names[kind.__name__]}.", param=name) from None


def _user(fields: Mapping[str, msgspec.Raw], path: tuple[str, ...]) -> str | None:
    """The end user, where the shape names one. Raises BadJson where the type is wrong."""
    if len(path) == 1:
        return _value(fields, path[0], str)
    user = (_value(fields, path[0], dict) or {}).get(path[1])
    return user if isinstance(user, str) else None
