"""Distinguished names, FILETIME and hashes: read right or refused by their own error, whatever comes in."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.hooks.clear_text import looks_hashed
from passferry.hooks.dn import NotDn, rdn
from passferry.hooks.filetime import from_epoch, to_epoch


def escaped(value: str) -> str:
    """As RFC 4514 2.4 says, every special character by its code."""
    return "".join(
        f"\\{byte:02x}" if byte > 127 or chr(byte) in ' "#+,;<=>\\\0' else chr(byte)
        for byte in value.encode()
    )


@given(st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,8}", fullmatch=True), st.text(max_size=40), st.text())
def test_a_name_is_read_as_it_was_written(attribute: str, value: str, rest: str) -> None:
    """Attribute in lower case, value with its escapes undone; what follows the comma does not matter."""
    assert rdn(f"{attribute}={escaped(value)},{rest}") == {attribute.lower(): value}


@given(st.text(max_size=60))
def test_any_text_is_a_name_or_is_refused(text: str) -> None:
    """Nothing but NotDn is raised."""
    with suppress(NotDn):
        rdn(text)


@pytest.mark.parametrize(
    ("dn", "wanted"),
    [
        ("UID = alice , dc=example,dc=org", {"uid": "alice"}),
        ("uid=a+cn=b c,dc=x", {"uid": "a", "cn": "b c"}),
        (r"cn=Smith\, John+uid=js", {"cn": "Smith, John", "uid": "js"}),
        (r"cn=Lu\C4\8Di\C4\87", {"cn": "Lučić"}),
        (r"uid=a\20", {"uid": "a "}),
        ("2.5.4.3=x", {"2.5.4.3": "x"}),
        ("uid=ü", {"uid": "ü"}),
    ],
)
def test_names_as_directories_write_them(dn: str, wanted: dict[str, str]) -> None:
    """Spaces around, several attributes, escapes by character and by code."""
    assert rdn(dn) == wanted


@pytest.mark.parametrize("dn", ["", "alice", "uid=#0405", 'uid="a"', "uid=a+,dc=x", r"uid=\zz", r"uid=\ff"])
def test_what_is_no_name_is_refused(dn: str) -> None:
    """No attribute, hexadecimal, quotes, bad escapes, bytes that are no text."""
    with pytest.raises(NotDn):
        rdn(dn)


def test_a_filetime_that_samba_wrote() -> None:
    """The clock of Active Directory counts from 1601."""
    at = to_epoch(134399980107966790)
    assert at is not None
    assert (
        datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds") == "2026-11-24T12:46:50.796+00:00"
    )


@given(st.integers(min_value=-(2**70), max_value=2**70))
def test_any_number_is_a_time_or_none(ticks: int) -> None:
    """What RFC 3339 cannot write is no time, and what it can comes back to less than a microsecond."""
    at = to_epoch(ticks)
    assert at is None or (0 <= at <= 253_402_300_800 and abs(from_epoch(at) - ticks) < 400)


@pytest.mark.parametrize("ticks", [0, -1, 0x7FFFFFFFFFFFFFFF, 116444735999999999])
def test_marks_are_no_times(ticks: int) -> None:
    """Never, must change, and the time before 1970."""
    assert to_epoch(ticks) is None


@given(
    st.from_regex(r"\A\{[A-Za-z0-9_./-]{1,20}\}", fullmatch=False).map(str.encode) | st.just(b" {crypt}$6$a")
)
def test_a_hash_is_known_by_its_scheme(value: bytes) -> None:
    """Any scheme, any case: never is a hash taken for a password."""
    assert looks_hashed(value)


@pytest.mark.parametrize("value", [b"", b"New-Passw0rd1", b"{", b"{}x", b"a{SSHA}", "{ä}x".encode()])
def test_a_password_is_no_hash(value: bytes) -> None:
    """Braces elsewhere, or with anything but a scheme's name in them, are part of a password."""
    assert not looks_hashed(value)
