"""Invariant: whatever the bytes, the readers give the message or raise ``NotBer``, and say no value.

What an LDAP client wrote is what is read; no part of a message is taken for the whole.
"""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.hooks.ber import NotBer, bind_request, read_bind_response, read_passwd_modify

# What ldappasswd of OpenLDAP 2.5.13 sent: an administrator for alice, she herself, without a password.
ADMIN = base64.b64decode("MC+AG3VpZD1hbGljZSxkYz1leGFtcGxlLGRjPW9yZ4IQTsOrdy1QYXNzdzByZCAyNg==")
SELF = base64.b64decode("MB2BDEN1ci1QYXNzdzByZIINTmV3LVBhc3N3MHJkMQ==")
GENERATED = base64.b64decode("MB2AG3VpZD1hbGljZSxkYz1leGFtcGxlLGRjPW9yZw==")

FIELDS = st.none() | st.binary(max_size=300)


def item(tag: int, content: bytes, long: bool = False) -> bytes:
    """Tag, length, content; lengths may be longer than they need to be."""
    if len(content) < 128 and not long:
        return bytes([tag, len(content)]) + content
    return bytes([tag, 0x84]) + len(content).to_bytes(4, "big") + content


@given(FIELDS, FIELDS, FIELDS, st.booleans())
def test_what_was_written_is_read(
    user: bytes | None, old: bytes | None, new: bytes | None, long: bool
) -> None:
    """Each field is optional; the old password is left where it is."""
    fields = [(0x80, user), (0x81, old), (0x82, new)]
    inside = b"".join(item(tag, value, long) for tag, value in fields if value is not None)
    found = read_passwd_modify(item(0x30, inside, long))
    assert (found.user, found.new) == (user, new)


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda some: item(0x30, some)))
def test_nothing_else_is_raised(data: bytes) -> None:
    """Bytes of any kind are read or refused, by both readers."""
    with suppress(NotBer):
        read_passwd_modify(data)
    with suppress(NotBer):
        read_bind_response(data)


@pytest.mark.parametrize("whole", [ADMIN, SELF, GENERATED])
def test_a_part_is_never_taken_for_the_whole(whole: bytes) -> None:
    """However a message is cut off, it is refused."""
    for cut in range(1, len(whole)):
        with pytest.raises(NotBer):
            read_passwd_modify(whole[:cut])


def test_what_clients_send() -> None:
    """The three kinds of a change."""
    admin, own, generated = map(read_passwd_modify, (ADMIN, SELF, GENERATED))
    alice = b"uid=alice,dc=example,dc=org"
    assert (admin.user, admin.new) == (alice, "Nëw-Passw0rd 26".encode())
    assert (own.user, own.new) == (None, b"New-Passw0rd1")
    assert (generated.user, generated.new) == (alice, None)
    assert "New-Passw0rd1" not in repr(own)
    assert read_passwd_modify(b"").new is None


def test_fields_stand_once_and_in_order() -> None:
    """Two new passwords are none."""
    for tags in ((0x82, 0x82), (0x82, 0x80), (0x83,), (0x04,)):
        with pytest.raises(NotBer):
            read_passwd_modify(item(0x30, b"".join(item(tag, b"x") for tag in tags)))


def test_a_bind_is_written_as_rfc_4511_says() -> None:
    """Byte for byte: message 1, version 3, simple."""
    assert bind_request(1, b"cn=a", b"pw") == bytes.fromhex("3012 020101 600d 020103 0404636e3d61 80027077")


def test_the_answer_to_a_bind_may_come_in_parts() -> None:
    """Until it is whole there is no code; then there is."""
    answer = bytes.fromhex("300c02010161070a013104000400")
    assert [read_bind_response(answer[:cut]) for cut in range(len(answer))] == [None] * len(answer)
    assert read_bind_response(answer) == 0x31
    with pytest.raises(NotBer):
        read_bind_response(bytes.fromhex("30050201016400"))
    with pytest.raises(NotBer):
        read_bind_response(b"\x30\x84\xff\xff\xff\xff")
