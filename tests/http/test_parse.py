"""What callers send, turned into values."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.domain.change import Reference
from passferry.domain.password import Password
from passferry.entrypoints import http_parse as parse
from passferry.entrypoints.change_view import utc
from passferry.entrypoints.http_parse import Asked, Problem

UUID = "0A1B2C3D-2222-3333-4444-555555555555"


def code_of(call: Any, *arguments: Any) -> str | None:
    """The code of the problem that ``call`` raises, or None; the problem has no context."""
    problem: Problem | None = None
    try:
        call(*arguments)
    except Problem as raised:
        problem = raised
    if problem is None:
        return None
    assert problem.__context__ is None
    return problem.code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "json.invalid"),
        (b"{", "json.invalid"),
        (b'{"password":"x"} x', "json.invalid"),
        (b'{"password":"x",}', "json.invalid"),
        (b"{'password':'x'}", "json.invalid"),
        (b'{"password":"\xff"}', "json.invalid"),
        (b'{"password":"\xed\xa0\x80"}', "json.invalid"),
        (b'\xef\xbb\xbf{"password":"x"}', "json.invalid"),
        ('{"password":"x"}'.encode("utf-16"), "json.invalid"),
        (b'{"password":"a\nb"}', "json.invalid"),
        (b'{"password":NaN}', "json.invalid"),
        (b'{"password":-Infinity}', "json.invalid"),
        (b'{"password":' + b"9" * 5000 + b"}", "json.invalid"),
        (b"[" * 16000, "json.invalid"),
        (b'{"a":' * 3000, "json.invalid"),
        (b'"text"', "json.not.object"),
        (b"[]", "json.not.object"),
        (b"null", "json.not.object"),
        (b'{"password":"a","password":"a"}', "member.repeated"),
        (b'{"password":"a","pass\\u0077ord":"b"}', "member.repeated"),
        (b'{"password":"a","x":{"y":1,"y":2}}', "member.repeated"),
        (b'{"userId":"u","password":"p","extra":1}', "member.unknown"),
        (b'{"userId":"u","Password":"p"}', "member.unknown"),
        (b'{"userId":"u","password":1}', "member.type"),
        (b'{"userId":"u","password":null}', "member.type"),
        (b'{"userId":"u","password":["p"]}', "member.type"),
        (b'{"userId":null,"password":"p"}', "member.type"),
        (b'{"userId":"u","password":"p","changedAt":1700000000}', "member.type"),
        (b'{"userId":"u","userName":"n","password":"p"}', "user.both"),
        (b'{"userId":"u"}', "member.missing"),
        (b'{"password":"p"}', "member.missing"),
        (b"{}", "member.missing"),
        (b'{"userId":"u","password":"p","changedAt":"2026-01-01"}', "changed.at.invalid"),
        (b'{"userId":"u","password":"p"}', None),
        (b' \r\n{"userName":"u","password":"","changedAt":"2026-01-01T00:00:00Z"}\t', None),
        (b'{"userId":"u","password":"\\ud800"}', None),
    ],
)
def test_a_body_is_taken_whole_or_refused_with_its_code(body: bytes, code: str | None) -> None:
    """Each body has the outcome of the table."""
    assert code_of(parse.sync_body, body) == code


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_bytes_make_the_parser_raise_anything_but_a_problem(body: bytes) -> None:
    """Any bytes are parsed or refused with the one known error."""
    code_of(parse.sync_body, body)


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")), st.booleans())
def test_text_arrives_as_it_was_sent(user: str, password: str, ascii_only: bool) -> None:
    """User and password come out code point for code point, however JSON wrote them."""
    body = json.dumps({"userId": user, "password": password}, ensure_ascii=ascii_only).encode()
    asked = parse.sync_body(body)
    assert asked.user_id == user
    assert asked.password.same_as(Password(password))


@pytest.mark.parametrize(
    ("member", "value", "template", "uuid_ids", "expected"),
    [
        ("userId", UUID, None, True, Reference("id", UUID.lower())),
        ("userId", UUID, None, False, Reference("id", UUID)),
        ("userId", "Jane@Example.com", None, True, Reference("userName", "Jane@Example.com")),
        ("userName", "jane@example.com", None, True, Reference("userName", "jane@example.com")),
        ("userName", "jane", None, True, Reference("userName", "jane")),
        ("userId", "jane", None, True, None),
        ("userId", "jane", None, False, Reference("id", "jane")),
        ("userId", "jane", "{uid}@example.com", True, Reference("userName", "jane@example.com")),
        ("userName", "jane", "{uid}@example.com", True, Reference("userName", "jane@example.com")),
        ("userName", "jane@b.org", "{uid}@example.com", True, Reference("userName", "jane@b.org")),
        ("userId", UUID, "{uid}@example.com", True, Reference("id", UUID.lower())),
        ("userId", "", None, False, None),
        ("userId", "", "{uid}@example.com", True, None),
        ("userName", "", None, True, None),
        ("userName", "a b", None, True, None),
        ("userName", "a\u00a0b", None, True, None),
        ("userName", "a\u200bb", None, True, None),
        ("userName", "a\x00b", None, True, None),
        ("userName", "a\ud800b", None, True, None),
        ("userName", "jürgen@example.com", None, True, Reference("userName", "jürgen@example.com")),
        (
            "userName",
            "a" * 308 + "@example.com",
            None,
            True,
            Reference("userName", "a" * 308 + "@example.com"),
        ),
        ("userName", "a" * 309 + "@example.com", None, True, None),
        ("userName", "a" * 309, "{uid}@example.com", True, None),
        ("userName", "{uid}", "{uid}@example.com", True, Reference("userName", "{uid}@example.com")),
    ],
)
def test_whom_a_reference_means(
    member: str, value: str, template: str | None, uuid_ids: bool, expected: Reference | None
) -> None:
    """Ids and names are told apart, short names completed, and everything else refused."""
    asked = Asked(
        value if member == "userId" else None, value if member == "userName" else None, Password("x")
    )
    if expected is None:
        assert code_of(parse.reference, asked, template, uuid_ids) == "user.invalid"
    else:
        assert parse.reference(asked, template, uuid_ids) == expected


@pytest.mark.parametrize(
    ("text", "epoch"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01t01:00:00.5+01:00", 0.5),
        ("1969-12-31T23:30:00-00:30", 0.0),
        ("1985-04-12T23:20:50.52Z", 482196050.52),
        ("1990-12-31T23:59:60Z", 662688000.0),
        ("1990-12-31T15:59:60-08:00", 662688000.0),
        ("2026-02-29T00:00:00Z", None),
        ("2026-01-01T24:00:00Z", None),
        ("2026-01-01T00:60:00Z", None),
        ("2026-01-01T00:00:61Z", None),
        ("2026-01-01T00:00:00", None),
        ("2026-01-01 00:00:00Z", None),
        ("2026-01-01T00:00Z", None),
        ("2026-01-01T00:00:00+0100", None),
        ("2026-01-01T00:00:00+24:00", None),
        ("2026-01-01T00:00:00.Z", None),
        ("0000-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+23:59", -62135683140.0),
        ("２０２６-01-01T00:00:00Z", None),
        ("2026-01-01T00:00:00Z\n", None),
        ("", None),
    ],
)
def test_times_are_rfc_3339_with_an_offset(text: str, epoch: float | None) -> None:
    """Each text is the epoch second of the table, or no time."""
    found = parse.rfc3339(text)
    assert found == (pytest.approx(epoch) if epoch is not None else None)


@given(st.integers(0, 4_000_000_000_000))
def test_times_come_back_as_they_were_written(milliseconds: int) -> None:
    """Writing and reading a time gives the same millisecond."""
    assert parse.rfc3339(utc(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, abs=0.0011)


@pytest.mark.parametrize(
    ("headers", "wait", "applied"),
    [
        ([], 15, ""),
        ([b"respond-async"], 0, "respond-async"),
        ([b"Respond-Async"], 0, "respond-async"),
        ([b"wait=5"], 5, "wait=5"),
        ([b'WAIT="5"'], 5, "wait=5"),
        ([b"wait = 5"], 5, "wait=5"),
        ([b"wait=0"], 0, "wait=0"),
        ([b"wait=99999"], 15, "wait=15"),
        ([b"wait=5, wait=7"], 5, "wait=5"),
        ([b"respond-async, wait=5"], 5, "respond-async, wait=5"),
        ([b"respond-async", b"wait=5"], 5, "respond-async, wait=5"),
        ([b'handling=lenient; x="a,b", respond-async; foo=bar'], 0, "respond-async"),
        ([b'x="respond-async, wait=1"'], 15, ""),
        ([b"wait=five"], 15, ""),
        ([b"wait=-1"], 15, ""),
        ([b"wait=1.5"], 15, ""),
        ([b"wait"], 15, ""),
        ([b"wait=" + b"9" * 5000], 15, ""),
        ([b",,;=\xff\xff, respond-async"], 0, "respond-async"),
        ([b"respond-asynchronously"], 15, ""),
        ([b"respond-async, bulk"], 0, "respond-async, bulk"),
        ([b"Bulk"], 15, "bulk"),
        ([b"bulky"], 15, ""),
    ],
)
def test_prefer_is_read_as_rfc_7240_has_it(headers: list[bytes], wait: float, applied: str) -> None:
    """Names in any case, several headers, the first of a name, a cap, bad values ignored."""
    preference = parse.preference(headers, 15)
    assert (preference.wait, preference.applied(202)) == (wait, applied)


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_no_prefer_header_is_an_error(headers: list[bytes]) -> None:
    """Whatever Prefer holds, the wait lies between none and the longest."""
    assert 0 <= parse.preference(headers, 15).wait <= 15


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([b"a"], None),
        ([b"!" * 255], None),
        ([b'"quoted,one"'], None),
        ([b""], "idempotency.key.invalid"),
        ([b"a b"], "idempotency.key.invalid"),
        ([b"a" * 256], "idempotency.key.invalid"),
        ([b"\xe4"], "idempotency.key.invalid"),
        ([b"a\x7f"], "idempotency.key.invalid"),
        ([b"a", b"a"], "idempotency.key.invalid"),
    ],
)
def test_an_idempotency_key_is_visible_ascii(values: list[bytes], code: str | None) -> None:
    """One header of 1 to 255 visible ASCII characters, else refused."""
    assert code_of(parse.idempotency_key, values) == code


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        (b"localhost", True),
        (b"LOCALHOST:8080", True),
        (b"localhost.:8080", True),
        (b"127.0.0.1:1", True),
        (b"127.9.9.9", True),
        (b"[::1]:8080", True),
        (b"[::1]", True),
        (b"10.0.0.1", False),
        (b"evil.example", False),
        (b"localhost.evil.example", False),
        (b"127.0.0.1.evil.example", False),
        (b"localhost@evil.example", False),
        (b"localhost:80:80", False),
        (b"", False),
        (b"\xff", False),
        (b"2130706433", False),
    ],
)
def test_which_hosts_are_this_machine(host: bytes, ours: bool) -> None:
    """Loopback names and addresses with any port, and nothing that only looks like one."""
    assert parse.is_loopback(host) is ours


@pytest.mark.parametrize(
    ("values", "accepted"),
    [
        ([b"application/json"], True),
        ([b"Application/JSON; Charset=UTF-8"], True),
        ([b'application/json;charset="utf-8";'], True),
        ([b"application/json; charset=latin1"], False),
        ([b"application/scim+json"], False),
        ([b"text/plain"], False),
        ([], False),
        ([b"application/json", b"application/json"], False),
    ],
)
def test_only_json_in_utf8_is_read(values: list[bytes], accepted: bool) -> None:
    """Content-Type decides before the body is read."""
    assert parse.is_json(values) is accepted


@pytest.mark.parametrize(
    "query",
    [
        b"colour=red",
        b"state=lost",
        b"state=pending,",
        b"since=yesterday",
        b"limit=0",
        b"limit=201",
        b"limit=x",
        b"cursor=zzz",
        b"cursor=MQ",
        b"cursor=%ff",
        b"user=a&user=b",
        b"user=%ff",
        b"&".join([b"a=1"] * 30),
    ],
)
def test_a_listing_that_is_not_understood_is_refused(query: bytes) -> None:
    """A filter with a mistake must not show everything."""
    expected = None if query == b"state=pending," else "query.invalid"
    assert code_of(parse.listing, query) == expected


@given(st.floats(0, 1e11), st.from_regex(r"[0-9a-f]{32}", fullmatch=True))
def test_a_cursor_leads_back_to_where_it_was_made(at: float, change_id: str) -> None:
    """Reading a cursor gives what it was made of."""
    assert parse.listing(f"cursor={parse.cursor(at, change_id)}".encode()).before == (at, change_id)
