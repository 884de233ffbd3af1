"""What is passed on of a request, and what is refused as it could be read in two ways."""

from __future__ import annotations

from typing import Any

import pytest

from caretrail.capture.forwarding import (
    Base,
    check_request,
    has_body,
    moved,
    request_head,
    response_headers,
)
from caretrail.errors import ConfigurationError, InvalidError

UPSTREAM = Base.parse("http://hapi:8080/fhir/", what="--upstream")
PUBLIC = Base.parse("https://fhir.example.org/r4", what="--public-url")


def scope(*headers: tuple[bytes, bytes], path: bytes = b"/r4/Patient", query: bytes = b"") -> Any:
    return {
        "method": "GET",
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "headers": [(b"host", b"evil.example"), *headers],
        "client": ("10.0.0.9", 1),
    }


def sent(*headers: tuple[bytes, bytes], is_rewritten: bool = False) -> dict[bytes, bytes]:
    made = parsed(scope(*headers), is_rewritten=is_rewritten)
    assert len(dict(made)) == len(made)
    return dict(made)


def parsed(asked: Any, *, is_rewritten: bool = False) -> list[tuple[bytes, bytes]]:
    head = request_head(asked, b"/fhir/Patient?a=b", UPSTREAM, PUBLIC, is_rewritten=is_rewritten)
    line, *rows = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert line == b"GET /fhir/Patient?a=b HTTP/1.1"
    return [(name, value) for name, _, value in (row.partition(b": ") for row in rows)]


def test_a_base_is_an_origin_and_a_path() -> None:
    assert UPSTREAM == ("http://hapi:8080", "/fhir")
    assert UPSTREAM.url == "http://hapi:8080/fhir"
    assert UPSTREAM.authority == b"hapi:8080"


@pytest.mark.parametrize(
    "text",
    ["", "hapi:8080", "file:///etc/passwd", "http://", "http://a:b@c/fhir", "http://a/fhir?x=1",
     "http://a/fhir#x", "http://a:0/", "http://a:99999/", "http://a/../b", "http://a b/"],
)  # fmt: skip
def test_other_texts_are_no_base(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--upstream is the URL"):
        Base.parse(text, what="--upstream")


@pytest.mark.parametrize(
    "path",
    [b"/r4/../admin", b"/r4/%2e%2e/admin", b"/r4/%2E./x", b"/r4/.", b"/r4/..;/x", b"/r4%2fPatient",
     b"/r4/%5c", b"/r4\\x", b"/r4/%0d%0aX:1", b"/r4/%00", b"/r4/%zz", b"/r4/a b", b"/r4/\xc3\xa4",
     b"/r4/%7f", b"/r4/%"],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused(path: bytes) -> None:
    with pytest.raises(InvalidError):
        check_request(scope(path=path))


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"5"), (b"content-length", b"5")],
        [(b"content-length", b"+5")],
        [(b"content-length", b"5, 5")],
        [(b"transfer-encoding", b"gzip, chunked")],
        [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"xchunked")],
        [(b"host", b"a")],
        [(b"authorization", b"Bearer good"), (b"authorization", b"Bearer a.forged.one")],
    ],
)
def test_a_request_with_two_ends_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(InvalidError):
        check_request(scope(*headers))


def test_an_ordinary_request_is_let_through() -> None:
    check_request(
        scope((b"content-length", b"0"), path=b"/r4/Patient/a%20b;x", query=b"name=%2F..")
    )
    check_request(scope((b"transfer-encoding", b"Chunked")))
    with pytest.raises(InvalidError):
        check_request(scope(query=b"a\xff"))


def test_what_is_for_one_hop_ends_here() -> None:
    made = sent(
        (b"connection", b"keep-alive, X-Secret, content-length, authorization"),
        (b"keep-alive", b"timeout=5"),
        (b"x-secret", b"1"),
        (b"te", b"trailers"),
        (b"upgrade", b"h2c"),
        (b"expect", b"100-continue"),
        (b"proxy-authorization", b"Basic x"),
        (b"content-length", b"3"),
        (b"authorization", b"Bearer x"),
        (b"x-request-id", b"r1"),
    )
    assert made.keys() == {
        b"host", b"content-length", b"authorization", b"x-request-id", b"accept-encoding",
        b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"forwarded",
    }  # fmt: skip


def test_the_server_is_told_the_way_and_not_what_a_client_makes_up() -> None:
    made = sent(
        (b"x-forwarded-for", b"1.2.3.4"),
        (b"x-forwarded-host", b"evil.example"),
        (b"forwarded", b"host=evil.example"),
    )
    assert made[b"host"] == b"hapi:8080"
    assert made[b"x-forwarded-for"] == b"1.2.3.4, 10.0.0.9"
    assert made[b"x-forwarded-host"] == b"fhir.example.org"
    assert made[b"forwarded"] == b'for=10.0.0.9;host="fhir.example.org";proto=https'
    six = parsed({**scope(), "client": ("::1", 1)})
    assert dict(six)[b"forwarded"].startswith(b'for="[::1]";')
    none = parsed({**scope(), "client": None})
    assert dict(none)[b"forwarded"].startswith(b"for=unknown;")


def test_only_codings_that_can_be_looked_into_are_asked_for() -> None:
    offered = (b"accept-encoding", b"br, gzip;q=0.8, zstd")
    assert sent(offered)[b"accept-encoding"] == b"gzip;q=0.8"
    assert sent((b"accept-encoding", b"br"))[b"accept-encoding"] == b"identity"
    assert sent(offered, is_rewritten=True)[b"accept-encoding"] == b"identity"


def test_a_chunked_body_stays_chunked() -> None:
    chunked = (b"transfer-encoding", b"chunked")
    assert sent(chunked)[b"transfer-encoding"] == b"chunked"
    assert has_body([chunked])
    assert has_body([(b"content-length", b"1")])
    assert not has_body([(b"content-length", b"0"), (b"host", b"a")])


def test_an_answer_keeps_what_is_for_the_client() -> None:
    given = [
        (b"Location", b"http://hapi:8080/fhir/Patient/1"),
        (b"Content-Length", b"5"),
        (b"Content-Encoding", b"gzip"),
        (b"Connection", b"close, X-Hop"),
        (b"X-Hop", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
    ]
    given = [(name.lower(), value) for name, value in given]
    links = (UPSTREAM.url, PUBLIC.url)
    plain = response_headers(given, status=200, links=None, is_rewritten=False)
    assert [name for name, _ in plain] == [
        b"location", b"content-length", b"content-encoding", b"set-cookie", b"set-cookie",
    ]  # fmt: skip
    changed = response_headers(given, status=200, links=links, is_rewritten=True)
    assert changed == [
        (b"location", b"https://fhir.example.org/r4/Patient/1"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    ]
    assert (b"content-length", b"5") not in response_headers(
        given, status=304, links=None, is_rewritten=False
    )


def test_a_redirect_to_elsewhere_stays_what_it_is() -> None:
    links = (UPSTREAM.url, PUBLIC.url)
    assert moved(b"http://hapi:8080/fhirx", *links) == b"http://hapi:8080/fhirx"
    assert moved(b"http://169.254.169.254/", *links) == b"http://169.254.169.254/"
    assert moved(b'<http://hapi:8080/fhir?p=2>; rel="next"', *links).startswith(
        b"<https://fhir.example.org/r4?p=2>"
    )
