"""Decoding is strict, and what is decoded can be encoded."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txbayeux.message import (
    MAX_DEPTH,
    Entry,
    Malformed,
    decode,
    encode,
    encode_list,
    has_more_objects,
)

SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
VALUE = st.recursive(
    SCALAR,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)
OBJECT = st.dictionaries(st.text(max_size=4), VALUE, max_size=4)


def nested(depth: int, kind: str = "[") -> bytes:
    """Return a request with arrays or objects nested ``depth`` levels deep."""
    if kind == "[":
        return b"[" * depth + b"]" * depth
    # The list that a single message stands for is a level too.
    return b'{"a":' * (depth - 1) + b"1" + b"}" * (depth - 1)


@pytest.mark.parametrize(
    "text", ['{"a": 1}', b'{"a": 1}', ' [{"a":1}]\r\n', b'[{"a":1}]']
)
def test_one_message_or_a_list_is_a_list(text: str | bytes) -> None:
    assert decode(text) == [{"a": 1}]


def test_the_items_may_be_anything() -> None:
    assert decode(b'[1, null, "x", [], {}]') == [1, None, "x", [], {}]
    assert decode(b"[]") == []


@pytest.mark.parametrize("text", [b"1", b"null", b"true", b'"[]"', b"1.5"])
def test_neither_an_object_nor_a_list_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed, match="a JSON object or a list"):
        decode(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"",
            b" ",
            b"{",
            b"[",
            b"]",
            b"{}{}",
            b"[] []",
            b"{}\0",
            b"[1,]",
            b'{"a":1,}',
        ),
        *(b"{a:1}", b"{'a':1}", b'{"a"}', b'{"a":}', b'{"a":tru}', b"[01]", b"[1.]"),
        *(b"[.5]", b"[+1]", b"[0x1]", b"[1e]", b"[-]", b'["\\x"]', b'["\\u12"]'),
        *(b'["\n"]', b'["\t"]', b'["\0"]', b'["', b"// c\n[]", b"[]/**/", b"undefined"),
    ],
)
def test_invalid_json_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed):
        decode(text)
    with pytest.raises(Malformed):
        decode(text.decode())


@pytest.mark.parametrize(
    "number",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "nan",
        "inf",
        "1e999",
        "-1e999",
        "1E400",
        "9" * 5000,
    ],
)
def test_numbers_that_others_cannot_read_are_refused(number: str) -> None:
    for text in (f'{{"data":{number}}}', f"[{number}]", f'{{"data":[[{number}]]}}'):
        with pytest.raises(Malformed):
            decode(text.encode())


@pytest.mark.parametrize(
    "number",
    [
        *("1.7976931348623157e308", "4.9406564584124654e-324"),
        "2.2250738585072011e-308",
        *("1e-400", "-0.0", "0.1", "9007199254740993.0", "1." + "3" * 800 + "e308"),
    ],
)
def test_floats_are_read_to_the_last_bit(number: str) -> None:
    assert [repr(float(number))] == [repr(value) for value in decode(f"[{number}]")]


@pytest.mark.parametrize(
    "text",
    [
        *(b'["\\ud800"]', b'["\\udc00"]', b'["\\ud800x"]', b'["\\ud800\\ud800"]'),
        *(b'["\\udc00\\ud800"]', b'{"\\ud800":1}', '["\ud800"]', '{"\udfff":1}'),
    ],
)
def test_lone_surrogates_are_refused(text: bytes | str) -> None:
    with pytest.raises(Malformed):
        decode(text)


def test_paired_surrogates_are_one_character() -> None:
    assert decode(b'["\\ud83c\\udf89"]') == ["🎉"]


@pytest.mark.parametrize(
    "octets",
    [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80"],
)
def test_invalid_utf_8_is_refused_anywhere(octets: bytes) -> None:
    for text in (b'["%s"]', b'{"%s":1}', b'{"data":{"a":["%s"]}}', b"%s[]", b"[]%s"):
        with pytest.raises(Malformed):
            decode(text % octets)


@pytest.mark.parametrize("text", [b"\xef\xbb\xbf[]", "\ufeff[]"])
def test_a_byte_order_mark_is_refused(text: bytes | str) -> None:
    with pytest.raises(Malformed):
        decode(text)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-32-be"])
def test_other_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(Malformed):
        decode('[{"a":1}]'.encode(encoding))


def test_of_two_fields_of_one_name_the_last_counts() -> None:
    assert decode(b'{"channel":"/a","channel":"/b"}') == [{"channel": "/b"}]


@pytest.mark.parametrize("kind", "[{")
@pytest.mark.parametrize("depth", [2, MAX_DEPTH - 1, MAX_DEPTH])
def test_depth_up_to_the_limit_is_accepted(kind: str, depth: int) -> None:
    items = decode(nested(depth, kind))
    assert decode(encode_list(items)) == items


@pytest.mark.parametrize("kind", "[{")
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 900, 1100, 5000, 100_000])
def test_depth_above_the_limit_is_refused(kind: str, depth: int) -> None:
    with pytest.raises(Malformed, match="too deep"):
        decode(nested(depth, kind))
    with pytest.raises(Malformed, match="too deep"):
        decode(nested(depth, kind).decode())


def test_depth_counts_levels_not_brackets() -> None:
    wide = b"[" + b",".join([b"[]"] * 10_000) + b"]"
    assert len(decode(wide)) == 10_000
    late = b"[" + b"[]," * 1000 + nested(MAX_DEPTH) + b"]"
    with pytest.raises(Malformed, match="too deep"):
        decode(late)


IN_STRINGS = [
    "",
    "[[{",
    "]}]",
    '"[',
    '"[\\',
    '\\"["',
    "\\",
    '\\\\"',
    'a,"b"\n[',
    "\u00e9\\u005b[",
]


@pytest.mark.parametrize("string", IN_STRINGS)
def test_brackets_in_strings_do_not_count(string: str) -> None:
    text = json.dumps([{string: string * 100}, [string], {}]).encode()
    assert has_more_objects(text, 3)
    assert not has_more_objects(text, 4)
    inner = nested(MAX_DEPTH - 2).decode()
    for ascii_only in (True, False):
        quoted = json.dumps(string * 100, ensure_ascii=ascii_only)
        assert decode(f"[[{inner}, {{{quoted}: {quoted}}}]]")
        with pytest.raises(Malformed, match="too deep"):
            decode(f"[[[{inner}]], {quoted}]")


@given(st.lists(OBJECT, max_size=4))
def test_arrays_and_objects_are_counted_exactly(messages: list[Any]) -> None:
    def count(value: Any) -> int:
        if isinstance(value, dict):
            return 1 + sum(map(count, value.values()))
        return 1 + sum(map(count, value)) if isinstance(value, list) else 0

    text = json.dumps(messages).encode()
    assert not has_more_objects(text, count(messages))
    assert has_more_objects(text, count(messages) - 1)


def test_the_reason_is_one_line() -> None:
    for text in (b"[", b'["\xff"]', nested(5000), b"7", b'["\\ud800"]', b"[1e999]"):
        with pytest.raises(Malformed) as caught:
            decode(text)
        assert str(caught.value).isprintable()
        assert 8 < len(str(caught.value)) < 120


@given(st.lists(OBJECT, max_size=4))
def test_what_the_standard_library_writes_is_decoded(messages: list[Any]) -> None:
    text = json.dumps(messages)
    assert decode(text.encode()) == messages
    assert decode(json.dumps(messages, ensure_ascii=False)) == messages


@given(st.lists(OBJECT, max_size=4))
def test_what_is_encoded_is_read_by_the_standard_library(messages: list[Any]) -> None:
    text = encode_list(messages)
    assert json.loads(text) == messages
    assert decode(text) == messages


@given(st.one_of(st.binary(max_size=40), st.text(max_size=40)))
def test_whatever_is_decoded_can_be_encoded(text: bytes | str) -> None:
    try:
        items = decode(text)
    except Malformed:
        return
    assert decode(encode_list(items)) == items


JSON_LIKE = st.text(
    st.sampled_from('[]{}":,0123456789eE.+-\\udbDF89c ntrfals'), max_size=40
)


@given(JSON_LIKE, st.sampled_from(["[%s]", '{"a":%s}', '["%s"]', "%s"]))
def test_input_like_json_is_decoded_and_encoded_or_refused(
    inner: str, frame: str
) -> None:
    text = frame.replace("%s", inner)
    try:
        items = decode(text)
    except Malformed:
        return
    written = encode_list(items)
    assert decode(written) == items
    assert json.loads(text) in (items, items[0] if items else items)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_encoded_exactly(number: float) -> None:
    [message] = decode(encode_list([{"data": number}]))
    assert message["data"] == number
    assert math.copysign(1, message["data"]) == math.copysign(1, number)


def test_an_entry_decodes_into_copies_and_keeps_its_bytes() -> None:
    entry = Entry(7, "/a", b'{ "channel": "/a",  "data": [1] }')
    entry.message()["data"].append(2)
    assert entry.message() == {"channel": "/a", "data": [1]}
    assert encode_list([entry, {"b": 2}]) == b"[" + entry.json + b',{"b":2}]'
    assert repr(entry) == "<Entry 7 /a>"


@pytest.mark.parametrize("value", [object(), float, {1, object()}, 1j])
def test_what_json_cannot_represent_raises(value: object) -> None:
    with pytest.raises(TypeError):
        encode({"data": value})
