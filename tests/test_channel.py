"""Channel names, patterns and matching; specification, "Channels"."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from txbayeux.channel import (
    BAYEUX,
    COMETD,
    MAX_LENGTH,
    MAX_SEGMENTS,
    Grammar,
    SubscriptionIndex,
    expand,
    is_deliverable,
    is_meta,
    is_name,
    is_pattern,
    is_reserved,
    is_sendable,
    is_service,
    matches,
)

# The grammar once more, written from the specification's BNF, character by character.
ALPHANUM = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
MARK = set("-_!~()$@")

SEGMENT = st.text(st.sampled_from(sorted(ALPHANUM | MARK)), min_size=1, max_size=4)
NAME = st.lists(SEGMENT, min_size=1, max_size=5).map(lambda s: "/" + "/".join(s))
PATTERN = st.builds(
    lambda segments, wild: "".join(f"/{segment}" for segment in segments) + wild,
    st.lists(SEGMENT, max_size=4),
    st.sampled_from(["/*", "/**"]),
)
CLOSE = st.text(st.sampled_from("/*aZ9-_!~()$@ .%+,;:é\n\0٣\u2028"), max_size=12)


def spec_name(text: str) -> bool:
    if not text.startswith("/"):
        return False
    return all(
        segment and set(segment) <= ALPHANUM | MARK for segment in text[1:].split("/")
    )


def spec_pattern(text: str) -> bool:
    parent, slash, wild = text.rpartition("/")
    if not slash or wild not in {"*", "**"}:
        return False
    return not parent or spec_name(parent)


def spec_matches(pattern: str, name: str) -> bool:
    wanted, has = pattern.split("/")[1:], name.split("/")[1:]
    if wanted[-1] == "*":
        return len(has) == len(wanted) and has[:-1] == wanted[:-1]
    if wanted[-1] == "**":
        return len(has) >= len(wanted) and has[: len(wanted) - 1] == wanted[:-1]
    return has == wanted


@pytest.mark.parametrize(
    "name", ["/foo/bar", "/foo-bar/(foobar)", "/a", "/-_!~()$@", "/0", "/meta/connect"]
)
def test_names(name: str) -> None:
    assert is_name(name)
    assert not is_pattern(name)


@pytest.mark.parametrize("pattern", ["/foo/*", "/foo/**", "/*", "/**", "/a/b/(c)/**"])
def test_patterns(pattern: str) -> None:
    assert is_pattern(pattern)
    assert not is_name(pattern)


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "//", "a", "a/b", "/a/", "//a", "/a//b", "/a b", "/a.b", "/a%2fb"),
        *(
            "/a\n",
            "/a\0",
            "\n/a",
            "/é",
            "/٣",
            "/\u0663",
            "/\uff41",
            "/a\u200b",
            "/\ud800",
        ),
        *("/a/*\n", "/*/a", "/**/a", "/a*", "/a/***", "/a/**/", "*", "**", "/a/* "),
        *(None, 7, b"/a", ["/a"], {"/a": 1}, True, object()),
    ],
)
def test_neither_a_name_nor_a_pattern(text: object) -> None:
    assert not is_name(text)
    assert not is_pattern(text)


@given(st.one_of(CLOSE, NAME, PATTERN, st.text(max_size=8)))
@example("/a\n")
@example("/*\n")
def test_the_grammar_is_the_specifications(text: str) -> None:
    assert is_name(text) == spec_name(text)
    assert is_pattern(text) == spec_pattern(text)


# CometD's grammar, as docs/reference/service.md describes it.
WIDE_MARK = MARK | set(".:#+{}")
WIDE_CLOSE = st.text(st.sampled_from("/*aZ9-. :#+{}%,;é\n\t\0\u00a0"), max_size=12)
WIDE_NAME = st.builds(
    lambda segments, end: "/" + "/".join(segments) + end,
    st.lists(
        st.from_regex(r"\A[a.#{}]([a .:+]*[a.])?\Z").filter(
            lambda segment: segment not in {".", ".."}
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["", "/"]),
)


def documented_segment(segment: str) -> bool:
    return (
        set(segment) <= ALPHANUM | WIDE_MARK | {" "}
        and segment == segment.strip(" ")
        and segment not in {"", ".", ".."}
    )


def documented_name(text: str) -> bool:
    bare = text[:-1] if text.endswith("/") else text
    return bare.startswith("/") and all(map(documented_segment, bare[1:].split("/")))


@given(st.one_of(WIDE_CLOSE, WIDE_NAME, CLOSE, NAME, PATTERN, st.text(max_size=8)))
@example("/a\n")
@example("/ ")
@example("/a /b")
@example("/...")
@example("/..a/")
def test_cometds_grammar_is_as_documented(text: str) -> None:
    assert COMETD.is_name(text) == documented_name(text)
    parent, slash, wild = text.rpartition("/")
    is_pattern = bool(slash) and wild in {"*", "**"}
    is_parent = not parent or (documented_name(parent) and not parent.endswith("/"))
    assert COMETD.is_pattern(text) == (is_pattern and is_parent)


@pytest.mark.parametrize(
    "name", ["/a.b", "/a b/c d", "/#", "/+1", "/{x}", "/a:b", "/chat/", "/v1.2/x/"]
)
def test_names_that_only_cometds_server_takes(name: str) -> None:
    assert COMETD.is_name(name)
    assert not is_name(name)


@given(WIDE_NAME)
def test_a_final_slash_makes_another_name_that_the_same_patterns_match(
    name: str,
) -> None:
    bare = name.rstrip("/")
    assert expand(f"{bare}/")[1:] == expand(bare)[1:]
    assert all(COMETD.is_pattern(pattern) for pattern in expand(name)[1:])
    assert (name in expand(bare)) == (name == bare)


def test_long_wide_names_are_matched_in_linear_time() -> None:
    assert COMETD.is_name("/" + "a " * 511 + "a")
    assert COMETD.is_name("/" + "." * 1023)
    for text in ("a " * 511, "a" * 1022 + "%", "a " * 511 + "%", " " * 1022):
        assert not COMETD.is_name(f"/{text}")
        assert not COMETD.is_pattern(f"/{text}/*")


@pytest.mark.parametrize("grammar", [BAYEUX, COMETD])
@pytest.mark.parametrize("wild", ["", "/*", "/**"])
def test_length_and_depth_are_bounded(wild: str, grammar: Grammar) -> None:
    is_valid = grammar.is_pattern if wild else grammar.is_name
    room = MAX_LENGTH - 1 - len(wild)
    assert is_valid("/" + "a" * room + wild)
    assert not is_valid("/" + "a" * (room + 1) + wild)
    depth = MAX_SEGMENTS - (1 if wild else 0)
    assert is_valid("/a" * depth + wild)
    assert not is_valid("/a" * (depth + 1) + wild)


def test_a_hundred_kilobytes_of_slashes_are_no_name() -> None:
    assert not is_name("/" * 100_000)
    assert not is_name("/a" * 50_000)
    assert not is_pattern("/a" * 50_000 + "/**")


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("/foo/*", ["/foo/bar", "/foo/boo"], ["/foo", "/foobar", "/foo/bar/boo"]),
        (
            "/foo/**",
            ["/foo/bar", "/foo/boo", "/foo/bar/boo"],
            ["/foo", "/foobar", "/foobar/boo"],
        ),
        ("/**", ["/foo", "/foo/bar"], []),
        ("/*", ["/foo"], ["/foo/bar"]),
        ("/foo", ["/foo"], ["/Foo", "/foo/bar"]),
    ],
)
def test_globbing_is_the_specifications(
    pattern: str, matching: list[str], others: list[str]
) -> None:
    assert all(matches(pattern, name) for name in matching)
    assert not any(matches(pattern, name) for name in others)


@given(st.one_of(NAME, PATTERN), NAME)
def test_matching_agrees_with_a_plain_matcher(pattern: str, name: str) -> None:
    assert matches(pattern, name) == spec_matches(pattern, name)


@given(NAME, st.data())
def test_matching_agrees_on_patterns_made_of_the_name(
    name: str, data: st.DataObject
) -> None:
    parts = name.split("/")
    cut = data.draw(st.integers(1, len(parts)))
    wild = data.draw(st.sampled_from(["*", "**", ""]))
    pattern = "/".join([*parts[:cut], *([wild] if wild else [])])
    if is_name(pattern) or is_pattern(pattern):
        assert matches(pattern, name) == spec_matches(pattern, name)


def test_a_name_expands_into_itself_and_what_matches_it() -> None:
    assert expand("/a") == ("/a", "/*", "/**")
    assert set(expand("/a/b/c")) == {
        *("/a/b/c", "/a/b/*", "/a/b/**", "/a/**", "/**"),
    }
    assert len(expand("/a" * MAX_SEGMENTS)) == MAX_SEGMENTS + 2


@given(NAME)
def test_expansion_gives_each_pattern_once(name: str) -> None:
    patterns = expand(name)
    assert len(set(patterns)) == len(patterns)
    assert all(is_pattern(pattern) for pattern in patterns[1:])


@pytest.mark.parametrize("channel", ["/meta", "/meta/x", "/meta/x/y", "/meta/**"])
def test_meta(channel: str) -> None:
    assert is_meta(channel)
    assert is_reserved(channel)


@pytest.mark.parametrize("channel", ["/META", "/Meta/x", "/mEtA/", "/META/**"])
def test_what_only_looks_like_meta_is_reserved(channel: str) -> None:
    assert not is_meta(channel)
    assert is_reserved(channel)


@pytest.mark.parametrize("channel", ["/metal", "/a/meta/x", "/metas/x", "/met", ""])
def test_what_is_not_meta(channel: str) -> None:
    assert not is_meta(channel)
    assert not is_reserved(channel)


def test_service() -> None:
    assert all(map(is_service, ["/service", "/service/a", "/service/**"]))
    assert not any(map(is_service, ["/services", "/a/service/x", "/Service/a", ""]))


# The index


def test_a_subscriber_is_found_once() -> None:
    index: SubscriptionIndex[str] = SubscriptionIndex()
    for pattern in ("/a/b", "/a/*", "/a/**", "/**"):
        index.add(pattern, "alice")
        index.add(pattern, "alice")
    assert list(index.matching("/a/b")) == ["alice"]


def test_the_index_keeps_nothing_of_removed_subscribers() -> None:
    index: SubscriptionIndex[str] = SubscriptionIndex()
    index.add("/a", "alice")
    index.add("/a", "bob")
    index.remove("/a", "alice")
    index.remove("/a", "alice")
    index.remove("/b", "alice")
    assert (list(index.matching("/a")), len(index), "/a" in index) == (["bob"], 1, True)
    index.remove("/a", "bob")
    assert (list(index), len(index), "/a" in index) == ([], 0, False)


@given(
    st.lists(
        st.tuples(st.booleans(), st.one_of(NAME, PATTERN), st.integers(0, 3)),
        max_size=30,
    ),
    NAME,
)
def test_the_index_agrees_with_a_plain_search(
    steps: list[tuple[bool, str, int]], name: str
) -> None:
    index: SubscriptionIndex[int] = SubscriptionIndex()
    plain: set[tuple[str, int]] = set()
    for add, pattern, who in steps:
        if add:
            index.add(pattern, who)
            plain.add((pattern, who))
        else:
            index.remove(pattern, who)
            plain.discard((pattern, who))
    for channel in (name, *(p for _, p, _ in steps if re.match(r"[^*]+\Z", p))):
        found = list(index.matching(channel))
        assert sorted(found) == sorted(
            {who for pattern, who in plain if spec_matches(pattern, channel)}
        )
    assert len(index) == len({pattern for pattern, _ in plain})


def test_long_names_are_not_cached() -> None:
    names = ["/" + character * (MAX_LENGTH - 1) for character in "ab"]
    first = [expand(name) for name in names]
    again = [expand(name) for name in names]
    assert first == again
    assert not any(one is other for one, other in zip(first, again, strict=True))
    assert expand("/a/b") is expand("/a/b")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/a", True),
        ("/", True),
        ("//", True),
        ("/größe/b c", True),
        ("/a/*/b", True),
        ("/" + "a" * 1023, True),
        ("/" + "a" * 1024, False),
        ("", False),
        ("a", False),
        ("/a\n", False),
        ("/a\x9f", False),
        ("/\udc80", False),
        (None, False),
        (["/a"], False),
    ],
)
def test_what_a_client_may_ask_a_server_about(value: object, expected: bool) -> None:
    assert is_sendable(value) is expected


def test_patterns_are_not_deliverable() -> None:
    assert is_deliverable("/a/b*")
    assert not is_deliverable("/a/*")
    assert not is_deliverable("/**")
    assert not is_deliverable("a")


@pytest.mark.parametrize("name", ["/", "//", "///", "/a//", "/?x", "/*/", "/ "])
def test_whatever_a_server_sends_can_be_expanded(name: str) -> None:
    assert is_deliverable(name)
    assert expand(name)[0] == name
    assert expand(name)[-1] == "/**"


def test_what_would_take_long_to_expand_is_not_deliverable() -> None:
    assert is_deliverable("/a" * MAX_SEGMENTS)
    assert is_deliverable("/a" * MAX_SEGMENTS + "/")
    assert not is_deliverable("/" * (MAX_SEGMENTS + 2))
