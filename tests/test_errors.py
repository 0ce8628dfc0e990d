"""The wire form of errors; specification, "error"."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txbayeux import errors
from txbayeux.errors import BayeuxError

# string = *( alphanum | mark | " " | "/" | "*" | "." ), from the specification
STRING = r"[A-Za-z0-9\-_!~()$@ /*.]*"
GRAMMAR = re.compile(rf"[0-9]{{3}}:(?:{STRING}(?:,{STRING})*)?:{STRING}\Z")

ALL: list[BayeuxError] = [
    errors.UnknownSession("abc"),
    errors.TooManySubscriptions(7),
    errors.version_mismatch("2.0"),
    errors.connection_types_mismatch(("iframe", "flash")),
    errors.bad_request("A message is a JSON object"),
    errors.missing_parameter("data"),
    errors.wrong_parameter("clientId"),
    errors.session_required(),
    errors.channel_forbidden("/meta/x"),
    errors.channel_invalid("/a/*"),
    errors.server_error(),
    errors.unavailable(),
]


@pytest.mark.parametrize("error", ALL, ids=str)
def test_every_error_follows_the_grammar_and_parses_back(
    error: BayeuxError,
) -> None:
    text = str(error)
    assert GRAMMAR.match(text)
    assert str(BayeuxError.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "code", "arguments", "why"),
    [
        ("401::No client ID", 401, (), "No client ID"),
        ("402:xj3sjdsjdsjad:Unknown Client ID", 402, ("xj3sjdsjdsjad",), None),
        ("403:xj3,/foo/bar:Subscription denied", 403, ("xj3", "/foo/bar"), None),
        ("404:/foo/bar:Unknown Channel", 404, ("/foo/bar",), "Unknown Channel"),
        ("500::a:b\nc", 500, (), "a:b\nc"),
    ],
)
def test_the_specifications_examples_are_parsed(
    text: str, code: int, arguments: tuple[str, ...], why: str | None
) -> None:
    error = BayeuxError.parse(text)
    assert (error.code, error.arguments) == (code, arguments)
    assert error.text == (why or text.rpartition(":")[2])


@pytest.mark.parametrize(
    "text", ["", "No", "40:x:y", "4030::x", "\u0664\u0660\u0663::x", "403:x", " 403::x"]
)
def test_an_invalid_error_becomes_the_text_of_one(text: str) -> None:
    error = BayeuxError.parse(text)
    assert (error.code, error.arguments, error.text) == (500, (), text)


@pytest.mark.parametrize("value", [None, 403, [], {}, True, b"403::x"])
def test_an_error_that_is_no_string_is_unknown(value: object) -> None:
    assert str(BayeuxError.parse(value)) == "500::Unknown error"


MAKERS: list[Callable[[str], BayeuxError]] = [
    errors.UnknownSession,
    errors.version_mismatch,
    lambda text: errors.connection_types_mismatch((text, "x")),
    errors.channel_forbidden,
    errors.channel_invalid,
]


@given(
    st.sampled_from(MAKERS),
    st.one_of(st.text(), st.sampled_from(["a:b", "a,b", "a\n", "x" * 5000])),
)
def test_errors_follow_the_grammar_whatever_was_refused(
    make: Callable[[str], BayeuxError], text: str
) -> None:
    written = str(make(text))
    assert GRAMMAR.match(written)
    assert len(written) < 500


def test_many_connection_types_make_a_bounded_error() -> None:
    many = tuple("x" * 128 for _ in range(1000))
    assert len(str(errors.connection_types_mismatch(many))) < 1200


@pytest.mark.parametrize("argument", ["/a", "/a/*", "abc", "a b", "x" * 128, ""])
def test_a_plain_argument_is_shown(argument: str) -> None:
    assert str(errors.channel_invalid(argument)) == f"405:{argument}:Invalid channel"


def test_an_unknown_session_may_have_a_reason() -> None:
    error = errors.UnknownSession("abc", "Moved away")
    assert str(error) == "402:abc:Moved away"
