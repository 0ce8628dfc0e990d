"""Which origins and hosts are allowed."""

import pytest

from txbayeux.adapter.origins import Origins


def judge(
    origins: Origins, *, secure: bool = False, script: bool = False, **headers: str
) -> str | None:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    given.setdefault("host", "bayeux.example")
    return origins.refusal(given.get, secure, script=script)


@pytest.mark.parametrize(
    ("item", "origin", "allowed"),
    [
        ("https://a.example", "https://a.example", True),
        ("https://a.example", "https://A.EXAMPLE", True),
        ("HTTPS://A.example", "https://a.example", True),
        ("https://a.example:443", "https://a.example", True),
        ("https://a.example", "https://a.example:443", True),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://a.example:8443", False),
        ("https://a.example", "https://b.a.example", False),
        ("https://a.example", "https://a.example.evil.example", False),
        ("https://a.example", "https://a.example@evil.example", False),
        ("https://a.example", "https://a.example/", False),
        ("https://a.example", "https://a.example\n", False),
        ("https://a.example", "https://a.example, https://b.example", False),
        ("https://*.a.example", "https://b.a.example", True),
        ("https://*.a.example", "https://c.b.a.example", True),
        ("https://*.a.example", "https://a.example", False),
        ("https://*.a.example", "https://xa.example", False),
        ("https://*.a.example", "https://.a.example", False),
        ("https://*.a.example", "https://b.a.example:8443", False),
        ("https://*.a.example:*", "https://b.a.example:8443", True),
        ("http://localhost:*", "http://localhost:3000", True),
        ("http://localhost:*", "http://localhost", True),
        ("http://localhost:*", "http://localhost.evil.example:3000", False),
        ("http://[::1]:8000", "http://[::1]:8000", True),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000", True),
        ("capacitor://localhost", "capacitor://localhost", True),
        ("*", "https://anything.example", True),
        ("*", "null", False),
        ("*", "nonsense", False),
        ("*", "https://" + "a" * 600, False),
        ("null", "null", True),
        ("null", "https://a.example", False),
    ],
)
def test_the_list(item: str, origin: str, allowed: bool) -> None:
    assert Origins([item]).allows(origin) is allowed


@pytest.mark.parametrize(
    "item",
    [
        "",
        "a.example",
        "https://",
        "https://a.example/",
        "https://a.example/path",
        "https://user@a.example",
        "https://*",
        "https://a.*.example",
        "https://*a.example",
        "https://a.example:x",
        "https://a.example:",
        "https://bücher.example",
        "https://a.example https://b.example",
    ],
)
def test_an_invalid_origin_is_an_error(item: str) -> None:
    with pytest.raises(ValueError, match="not an origin"):
        Origins([item])


def test_origins_compare_by_value() -> None:
    assert Origins(hosts=["a"]) != Origins()
    assert Origins(["*"]) == Origins(["*"]) != Origins()
    assert {Origins(["*"]): 1}[Origins(["*"])] == 1
    assert repr(Origins(["null"])) == "Origins(['null'], hosts=[])"


def test_programs_are_allowed() -> None:
    assert judge(Origins()) is None
    assert judge(Origins(), script=True) is None
    assert judge(Origins(), script=True, user_agent="curl/8") is None


@pytest.mark.parametrize(
    ("origin", "host", "secure", "same"),
    [
        ("http://bayeux.example", "bayeux.example", False, True),
        ("https://bayeux.example", "bayeux.example", False, True),  # TLS ends before us
        ("https://bayeux.example", "bayeux.example", True, True),
        ("http://bayeux.example", "bayeux.example", True, False),
        ("https://bayeux.example", "bayeux.example:443", False, True),
        ("http://bayeux.example", "bayeux.example:80", False, True),
        ("http://bayeux.example", "bayeux.example:443", False, False),
        ("http://bayeux.example:8000", "bayeux.example:8000", False, True),
        ("http://bayeux.example:8000", "BAYEUX.example:8000", False, True),
        ("http://bayeux.example:8001", "bayeux.example:8000", False, False),
        ("http://bayeux.example:8000", "bayeux.example", False, False),
        ("http://other.example", "bayeux.example", False, False),
        ("http://[::1]:8000", "[::1]:8000", False, True),
        ("ftp://bayeux.example", "bayeux.example", False, False),
        ("null", "bayeux.example", False, False),
        ("null", "null", False, False),
        ("", "", False, False),
        ("http://bayeux.example", "bayeux.example, other.example", False, False),
    ],
)
def test_the_service_s_own_pages_are_allowed(
    origin: str, host: str, secure: bool, same: bool
) -> None:
    refusal = judge(Origins(), secure=secure, origin=origin, host=host)
    assert (refusal is None) is same


def test_a_request_without_a_host_has_no_own_pages() -> None:
    assert Origins().refusal({"origin": "http://a.example"}.get, False) is not None


@pytest.mark.parametrize(
    ("site", "passes"),
    [("same-origin", True), ("same-site", False), ("cross-site", False)],
)
def test_sec_fetch_site_precedes_the_host(site: str, passes: bool) -> None:
    rewritten = judge(
        Origins(), origin="https://a.example", host="10.0.0.1", sec_fetch_site=site
    )
    assert (rewritten is None) is passes
    same = judge(
        Origins(), origin="http://bayeux.example", secure=False, sec_fetch_site=site
    )
    assert (same is None) is passes


def test_an_extension_s_request_needs_its_origin_listed() -> None:
    origin = "chrome-extension://abcdefgh"
    assert judge(Origins(), origin=origin, sec_fetch_site="none") is not None
    assert judge(Origins([origin]), origin=origin, sec_fetch_site="none") is None


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        ("www.example.com", True),
        ("WWW.example.com:8000", True),
        ("www.example.com.", True),
        ("[::1]:8000", True),
        ("example.com", False),
        ("evil.example", False),
        ("www.example.com.evil.example", False),
        ("www.example.com, evil.example", False),
        ("www.example.com:8000:1", False),
        ("", False),
        ("a" * 600, False),
    ],
)
def test_other_hosts_are_refused_where_hosts_are_listed(
    host: str, passes: bool
) -> None:
    origins = Origins(["https://a.example"], hosts=["www.Example.com", "[::1]"])
    for headers in (
        {},
        {"origin": "https://a.example"},
        {"sec_fetch_site": "same-origin"},
    ):
        assert (judge(origins, host=host, **headers) is None) is passes
    assert origins.refusal({}.get, False) is not None


def test_dns_rebinding_is_refused_where_hosts_are_listed() -> None:
    rebound = {"host": "evil.example", "origin": "http://evil.example"}
    assert judge(Origins(), **rebound) is None
    said = judge(Origins(hosts=["localhost"]), **rebound)
    assert said is not None
    assert "--host evil.example" in said


@pytest.mark.parametrize(
    "host",
    ["", "a b", "http://a.example", "a.example:80", "a.example/", "*", "a" * 600],
)
def test_an_invalid_host_is_an_error(host: str) -> None:
    with pytest.raises(ValueError, match="host"):
        Origins(hosts=[host])


BROWSER = "Mozilla/5.0 (X11; Linux x86_64)"
LISTED = "https://a.example"


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "none"}, True),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site"}, False),
        ({"sec_fetch_site": "nonsense"}, False),
        ({"sec_fetch_site": "cross-site", "referer": LISTED + "/page?x"}, True),
        ({"sec_fetch_site": "same-site", "referer": LISTED + "/"}, True),
        ({"sec_fetch_site": "cross-site", "referer": LISTED}, True),
        ({"sec_fetch_site": "cross-site", "referer": "https://b.example/"}, False),
        (
            {"sec_fetch_site": "cross-site", "referer": "http://bayeux.example/"},
            False,
        ),
        ({"sec_fetch_site": "cross-site", "referer": "about:blank"}, False),
        ({"referer": LISTED + "/page"}, True),
        ({"referer": "https://b.example/"}, False),
        ({"referer": "https://b.example/https://a.example/"}, False),
        ({"referer": "https://a.example@b.example/"}, False),
        ({"referer": "https://a.example.b.example/"}, False),
        ({"referer": "http://bayeux.example/chat"}, True),
        ({"referer": "https://a.example/" + "x" * 5000}, True),
        ({}, False),
    ],
)
def test_script_loads_are_judged_by_other_headers(
    headers: dict[str, str], passes: bool
) -> None:
    refusal = judge(Origins([LISTED]), script=True, user_agent=BROWSER, **headers)
    assert (refusal is None) is passes


def test_scripts_without_a_page_are_allowed_where_every_origin_is() -> None:
    origins = Origins(["*"])
    assert judge(origins, script=True, user_agent=BROWSER) is None
    assert judge(origins, script=True, sec_fetch_site="cross-site") is None


def test_the_refusal_names_the_option() -> None:
    said = judge(Origins(), origin="https://a.example")
    assert said is not None
    assert "--allow-origin https://a.example" in said
    said = judge(Origins(), script=True, sec_fetch_site="cross-site")
    assert said is not None
    assert "--allow-origin" in said
    said = judge(Origins(), origin="<script>")
    assert said is not None
    assert "<" not in said
