"""The top level of an object: what is read is unique, what is not touched stays as it came."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.json_object import (
    _SHORT,
    DEEPEST,
    BadJson,
    Repeated,
    _gap,
    _members,
    _spliced,
    _walked,
    has_duplicates,
    parse_object,
    splice,
)
from gateway.providers.edits import edit_body

READ = frozenset((b"model", b"stream"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(
    st.text(max_size=6) | st.sampled_from(["model", "stream", "stream_options"]), JSON, max_size=6
)
FORMS = st.sampled_from([(", ", ": "), (",", ":"), (" ,\n", " :\t")])


def dumped(tree: object, form: tuple[str, str], *, ascii_only: bool) -> bytes:
    text = json.dumps(tree, separators=form, ensure_ascii=ascii_only)
    return text.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    ("body", "words", "param"),
    [
        (b"", "empty", None),
        (b"  ", "empty", None),
        (b"[]", "not a JSON object", None),
        (b'"x"', "not a JSON object", None),
        (b"{", "not valid JSON", None),
        (b'{"a":1,}', "not valid JSON", None),
        (b'{"a":1} x', "not valid JSON", None),
        (b'{"a":01}', "not valid JSON", None),
        (b'{"a":"\xff"}', "not UTF-8 (byte 6)", None),
        ('{"a":1}'.encode("utf-16"), "not UTF-8", None),
        (b"\xef\xbb\xbf{}", "not valid JSON", None),
        (b'{"a":' + b"[" * 500 + b"]" * 500 + b"}", "nested", None),
        (b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "nested", None),
        (b'{"model":"a","model":"b"}', "occurs twice", "model"),
        (b'{"model":"a","mod\\u0065l":"b"}', "occurs twice", "model"),
        (b'{"model":{"x":1,"model":2},"model":"b"}', "occurs twice", "model"),
    ],
)
def test_what_cannot_be_read(body: bytes, words: str, param: str | None) -> None:
    with pytest.raises(BadJson, match=words.replace("(", r"\(").replace(")", r"\)")) as caught:
        parse_object(body, READ)
    assert caught.value.param == param


@given(OBJECTS, FORMS, st.booleans())
def test_fields_are_the_values(tree: dict[str, object], form: tuple[str, str], ascii_only: bool) -> None:
    body = dumped(tree, form, ascii_only=ascii_only)
    fields = parse_object(body, READ)
    assert {name: json.loads(bytes(raw)) for name, raw in fields.items()} == tree
    assert not has_duplicates(body, fields)
    if ascii_only and "\\" not in "".join(map(json.dumps, tree)):
        assert _gap(body, fields) == {",": 0, ", ": 1}.get(form[0]) or not tree
    members = _members(body)
    assert [(name, body[start:end]) for name, start, end in members] == [
        (name, bytes(raw)) for name, raw in fields.items()
    ]
    places = _walked(body, fields)
    assert places is None or [(name, *place) for name, place in places.items()] == members


@given(OBJECTS.filter(bool), FORMS, st.data())
def test_duplicates_are_never_taken_for_none(
    tree: dict[str, object], form: tuple[str, str], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(tree)))
    other = data.draw(JSON)
    body = dumped(tree, form, ascii_only=False)
    member = json.dumps(name, ensure_ascii=False) + ":" + json.dumps(other)
    twice = body[: body.rindex(b"}")] + b"," + member.encode("utf-8", "surrogatepass") + b"}"
    fields = msgspec.json.decode(twice, type=dict[str, msgspec.Raw])
    assert _gap(twice, fields) is None
    assert _walked(twice, fields) is None
    assert has_duplicates(twice, fields)
    if name.encode("utf-8", "surrogatepass") in READ:
        with pytest.raises(BadJson):
            parse_object(twice, READ)
    else:
        assert type(parse_object(twice, READ)) is Repeated
    assert type(parse_object(body, READ)) is dict


@pytest.mark.parametrize(
    "body",
    [
        b'{"n":1,"a":2,"b":3,"c":4, "n":1}',  # as long as the four with spaces as Python puts them
        b'{"n": 1, "a": 2, "b":3,"c":4,"n":1}',
        b'{"n":1,"a":2,"b":3,"c":4,"n":1}',
        b'{"n":1,"a":2,"b":3,"c":4,\n"n" : 1}',
    ],
)
def test_a_key_twice_where_there_might_be_spaces_is_seen(body: bytes) -> None:
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    assert _gap(body, fields) is None
    with pytest.raises(BadJson, match="'n' occurs twice"):
        parse_object(body, frozenset((b"n",)))


@given(OBJECTS, FORMS, st.sampled_from(["gpt", 'q"\\', "é"]))
def test_editing_changes_nothing_else(tree: dict[str, object], form: tuple[str, str], model: str) -> None:
    tree = {
        **{name: one for name, one in tree.items() if name != "q"},
        "model": "asked_model",
        "marker_z": [123456789012345678901234567890, "\\u00e9"],
    }
    body = dumped(tree, form, ascii_only=True).replace(b'"marker_z"', b'"q":1e-7,"marker_z"')
    edited = edit_body(body, (("n", 1),), model=model)
    assert edited == edit_body(body, (("n", 1),), model=model, fields=parse_object(body, READ))
    assert json.loads(edited) == {**tree, "q": 1e-7, "model": model, "n": 1}
    asked, put = b'"asked_model"', msgspec.json.encode(model)
    if "n" not in tree:
        rest = edited.replace(b'"n":1,', b"", 1)
        assert rest == body.replace(b'"model"' + form[1].encode() + asked, b'"model"' + form[1].encode() + put, 1)


@pytest.mark.parametrize(
    ("body", "edited"),
    [
        (b'{"model":"m"}', b'{"stream_options":{"include_usage":true},"model":"m"}'),
        (b'{"stream_options":null}', b'{"stream_options":{"include_usage":true}}'),
        (b'{"stream_options":{}}', b'{"stream_options":{"include_usage":true}}'),
        (
            b'{"stream_options":{"include_usage": false , "x":1e-7}}',
            b'{"stream_options":{"include_usage": true , "x":1e-7}}',
        ),
        (b'{"stream_options":{"x":1}}', b'{"stream_options":{"include_usage":true,"x":1}}'),
        (b'{"a":1,"a":2,"stream_options":{}}', b'{"a":1,"a":2,"stream_options":{"include_usage":true}}'),
        (b" {} ", b' {"stream_options":{"include_usage":true}} '),
    ],
)
def test_usage_is_asked_for_once(body: bytes, edited: bytes) -> None:
    assert edit_body(body, (), include_usage=True) == edited


NESTED = st.recursive(
    JSON | st.sampled_from(["model", '"model"', '"model":"m"', "m", "\\", "\u006d"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["model", "m"]), inner, max_size=2),
    max_leaves=6,
)


@given(
    OBJECTS, st.dictionaries(st.sampled_from(["a", "model"]), NESTED, max_size=2), FORMS, st.booleans(), st.booleans(),
    st.none() | st.sampled_from(["m", 'q"é']),
)  # fmt: skip
def test_what_is_known_of_a_body_need_not_be_read_again(
    tree: dict[str, object],
    more: dict[str, object],
    form: tuple[str, str],
    ascii_only: bool,
    usage: bool,
    model: str | None,
) -> None:
    body = dumped(tree | more, form, ascii_only=ascii_only)
    try:
        fields = parse_object(body, READ | {b"stream_options"})
    except BadJson:
        return
    anew = edit_body(body, (), model=model, include_usage=usage)
    assert edit_body(body, (), model=model, include_usage=usage, fields=fields) == anew


@pytest.mark.parametrize(
    "body",
    [
        b'{"mod\\u0065l":"m","a":{"model":"m"}}', b'{"a":{"model":"m"},"\\u006Dodel":"m"}',
        b'{"a":{"model":"m"},"model":"m"}', b'{"a":"model","model":"m"}', b'{"a":["model"],"model" : "m"}',
        b'{"model":\t"m"}',
        b'{"a":"\\"model\\":","model":"m"}', b' { "model": "m" } ',
        b'{"model":null}', b'{"model":"m","model\\u0000":"m"}', b'{"a":1}',
    ],
)  # fmt: skip
def test_a_key_is_where_it_stands_and_nowhere_else(body: bytes) -> None:
    fields = parse_object(body, READ)
    for usage in (False, True):
        edited = edit_body(body, (), model="n", include_usage=usage, fields=fields)
        assert edited == edit_body(body, (), model="n", include_usage=usage)


def test_a_model_is_renamed_without_reading_the_body_again(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"messages":[{"role":"user","content":"\\u00e9"}],"model": "m","stream":true}'
    fields = parse_object(body, READ)
    monkeypatch.setattr("gateway.providers.edits.parse_object", None)
    edited = edit_body(body, (), model="n", include_usage=True, fields=fields)
    assert edited == b'{"stream_options":{"include_usage":true},' + body.replace(b'"m"', b'"n"')[1:]


@given(OBJECTS, FORMS, st.booleans(), st.sets(st.sampled_from(["model", "stream", "stream_options", "a", ""])))
def test_what_is_spliced_is_the_rest_as_it_came(
    tree: dict[str, object], form: tuple[str, str], ascii_only: bool, names: set[str]
) -> None:
    body = dumped(tree, form, ascii_only=ascii_only)
    fields, values = parse_object(body, READ), dict.fromkeys(names, b'["\\u00e9", 1]')
    spliced = splice(body, fields, values)
    assert spliced == _spliced(body, fields, values)
    assert json.loads(spliced) == tree | {name: ["é", 1] for name in names & tree.keys()}


def test_splicing_a_value_that_stands_twice_is_refused() -> None:
    body = b'{"a":1,"a":2}'
    with pytest.raises(BadJson):
        splice(body, msgspec.json.decode(body, type=dict[str, msgspec.Raw]), {"a": b"3"})


@given(
    st.integers(DEEPEST - 2, DEEPEST + 2),
    st.booleans(),
    st.integers(0, 2 * DEEPEST) | st.just(_SHORT),
    st.sampled_from("[{ }]6"),
)
def test_what_is_nested_too_deep_is_refused_whatever_stands_in_texts(
    deep: int, objects: bool, many: int, text: str
) -> None:
    opening, closing = ('{"a":', "}") if objects else ("[", "]")
    value = opening * (deep - 1) + "1" + closing * (deep - 1)
    body = f'{{"model":{json.dumps(text * many)},"a":{value}}}'.encode()
    if deep <= DEEPEST:
        assert bytes(parse_object(body, READ)["a"]) == value.encode()
    else:
        with pytest.raises(BadJson, match="levels deep"):
            parse_object(body, READ)
