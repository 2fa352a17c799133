"""Invariant: whatever the bytes, ``read_block`` gives a block or raises ``NotBlock``, and says no value.

What slapd wrote is what is read, no part of a block is taken for the whole, and a value never becomes a line.
"""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.hooks.slapd_sock import Extended, Key, NotBlock, Other, Result, Write, read_block

HEAD = b"""\
msgid: 2
binddn: cn=admin,dc=example,dc=org
peername: IP=127.0.0.1:51110
ssf: 0
connid: 1000
"""
SUFFIX = b"suffix: dc=example,dc=org\n"
MODIFY = (
    b"MODIFY\n"
    + HEAD
    + SUFFIX
    + b"""\
dn: uid=alice,dc=example,dc=org
delete: userPassword
userPassword:: T2xkLVBhc3N3MHJk
-
add: userPassword
userPassword:: TmV3LVBhc3N3MHJkMjIy
-
replace: description
description: userPassword: no
-

"""
)
ADD = (
    b"ADD\n"
    + HEAD
    + SUFFIX
    + b"""\
dn: uid=bob,dc=example,dc=org
objectClass: inetOrgPerson
userPassword:: Qm9iLVBhc3N3MHJkLTF5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl
 5eXl5

"""
)
EXTENDED = (
    b"EXTENDED\n"
    + HEAD
    + SUFFIX
    + b"""\
oid: 1.3.6.1.4.1.4203.1.11.1
value: MAeCBXNob3J0

"""
)
RESULT = b"RESULT\n" + HEAD + b"code: 19\ninfo: Password fails quality checking policy\n\n"
KEY = Key(1000, 2)


def written(value: bytes) -> bytes:
    """A line of a value."""
    return b"userPassword:: " + base64.b64encode(value) + b"\n"


@given(st.lists(st.tuples(st.sampled_from(["add", "delete", "replace"]), st.lists(st.binary(max_size=80)))))
def test_what_a_modify_writes_is_read(modifications: list[tuple[str, list[bytes]]]) -> None:
    """Every value that is added or put in place, in order; none of those that are deleted."""
    body = b"".join(
        name.encode() + b": userPassword\n" + b"".join(map(written, values)) + b"-\n"
        for name, values in modifications
    )
    block = read_block(b"MODIFY\n" + HEAD + SUFFIX + b"dn: uid=x\n" + body + b"\n")
    wanted = [value for name, values in modifications if name != "delete" for value in values]
    assert block == Write(KEY, "uid=x", tuple(wanted))


@given(st.text(max_size=30), st.binary(max_size=100))
def test_what_an_extended_operation_carries_is_read(dn: str, value: bytes) -> None:
    """The bound name, in base64 where it needs to be, and the value."""
    head = b"msgid: 7\nbinddn:: " + base64.b64encode(dn.encode()) + b"\nconnid: 9\n"
    block = read_block(b"EXTENDED\n" + head + b"oid: 1.2\nvalue: " + base64.b64encode(value) + b"\n\n")
    assert block == Extended(Key(9, 7), dn, "1.2", value)


@given(
    st.binary(max_size=300)
    | st.tuples(st.sampled_from([b"EXTENDED", b"MODIFY", b"ADD", b"RESULT"]), st.binary(max_size=80)).map(
        lambda made: made[0] + b"\n" + HEAD + made[1] + b"\n\n"
    )
)
def test_nothing_else_is_raised(data: bytes) -> None:
    """Bytes of any kind are read or refused."""
    with suppress(NotBlock):
        read_block(data)


@given(st.sampled_from([MODIFY, ADD, EXTENDED]), st.data())
def test_a_changed_byte_shows_no_value(whole: bytes, data: st.DataObject) -> None:
    """Neither a refusal nor a block shows what stood in it."""
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + bytes([data.draw(st.integers(0, 255))]) + whole[at + 1 :]
    try:
        shown = repr(read_block(changed))
    except NotBlock as error:
        shown = repr((error, error.__context__))
    assert not any(secret in shown for secret in ("Passw", "UGFzc", "short", "c2hvcnQ"))


@pytest.mark.parametrize("whole", [MODIFY, ADD, EXTENDED, RESULT])
def test_a_part_is_never_taken_for_the_whole(whole: bytes) -> None:
    """However a block is cut off, it is refused."""
    for cut in range(len(whole)):
        with pytest.raises(NotBlock):
            read_block(whole[:cut])


def test_what_slapd_sends() -> None:
    """A change with its old value, a new entry with a folded one, an extended operation, an outcome."""
    assert read_block(MODIFY) == Write(KEY, "uid=alice,dc=example,dc=org", (b"New-Passw0rd222",))
    assert read_block(ADD) == Write(KEY, "uid=bob,dc=example,dc=org", (b"Bob-Passw0rd-1" + b"y" * 37,))
    assert read_block(RESULT) == Result(KEY, 19)
    extended = read_block(EXTENDED)
    assert isinstance(extended, Extended)
    assert extended.value == b"0\x07\x82\x05short"
    assert read_block(b"SEARCH\nmsgid: 1\n\n") == Other("SEARCH")


def test_an_overlay_that_names_no_connection_gives_no_key() -> None:
    """Without `extensions … connid` an operation cannot be told from another."""
    block = read_block(MODIFY.replace(b"connid: 1000\n", b""))
    assert isinstance(block, Write)
    assert block.key is None


@pytest.mark.parametrize(
    "data",
    [
        RESULT.replace(b"code: 19\n", b""),
        RESULT.replace(b"code: 19", b"code: nineteen"),
        RESULT.replace(b"msgid: 2", b"msgid: 2\nmsgid: 3"),
        MODIFY.replace(b"-\nreplace", b"replace"),
        MODIFY.replace(b"add: ", b"put: "),
        MODIFY.replace(b"description: userPassword: no", b"userPassword: no"),
        MODIFY.replace(b"dn: uid=alice,dc=example,dc=org\n", b""),
        EXTENDED.replace(b"value: ", b"value: QQ==\nvalue: "),
        EXTENDED.replace(b"oid: 1.3.6.1.4.1.4203.1.11.1\n", b""),
        EXTENDED.replace(b"MAeC", b"MA*C"),
    ],
)
def test_what_slapd_never_writes_is_refused(data: bytes) -> None:
    """Lines twice, missing, or of another attribute."""
    with pytest.raises(NotBlock):
        read_block(data)


def test_the_first_code_counts_whatever_the_server_says_after_it() -> None:
    """The text of an outcome may repeat what a client sent; it changes no code."""
    assert read_block(RESULT.replace(b"info: Pass", b"info: x\ncode: 0\n\nPass")) == Result(KEY, 19)
