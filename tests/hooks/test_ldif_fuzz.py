"""Invariant: any bytes are one whole object to ``read_entry``, or it raises ``NotLdif`` and says no value.

What was written is what is read, folded anywhere, attributes in any order.
"""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.hooks.ldif import MOST_BYTES, NotLdif, read_entry

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,12}", fullmatch=True).filter(
    lambda name: name.lower() not in ("dn", "version")
)
SAFE = st.from_regex(rb"[!-9;=-~][ -~]{0,60}[!-~]", fullmatch=True)
PAIRS = st.lists(st.tuples(NAMES, SAFE | st.binary(max_size=120)), max_size=8)

CAROL = b"""\
dn: CN=carol,CN=Users,DC=ex,DC=test
objectGUID: cd22b960-a5ea-430b-9986-1860fefb90a6
sAMAccountName: carol
userAccountControl: 512
pwdLastSet: 134399980544728650
msDS-KeyVersionNumber: 7
virtualClearTextUTF8:: TG9uZy01LXp6enp6enp6enp6enp6enp6enp6enp6enp6enp6enp6enp
 6enp6enp6enp6eg==

"""


def line(name: str, value: bytes, width: int) -> bytes:
    """As a directory writes it: in clear where that is allowed, folded at ``width``."""
    plain = value and value.isascii() and value[:1] not in b" :<" and value[-1:] != b" "
    if plain and not any(byte in value for byte in b"\0\r\n"):
        text = name.encode() + b": " + value
    else:
        text = name.encode() + b":: " + base64.b64encode(value)
    return b"\n ".join(text[at : at + width] for at in range(0, len(text), width)) + b"\n"


@given(st.text(max_size=40), PAIRS, st.integers(1, 80), st.sampled_from([b"\n", b"\r\n"]))
def test_what_was_written_is_read(
    dn: str, pairs: list[tuple[str, bytes]], width: int, newline: bytes
) -> None:
    """Round trip over folds, base64, both ends of lines and any order."""
    wanted: dict[str, tuple[bytes, ...]] = {}
    for name, value in pairs:
        wanted[name.lower()] = (*wanted.get(name.lower(), ()), value)
    lines = [line("dn", dn.encode(), width), *(line(*pair, width) for pair in pairs)]
    entry = read_entry((b"".join(lines) + b"\n").replace(b"\n", newline))
    assert (entry.dn, dict(entry.attributes)) == (dn, wanted)


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda some: b"dn: x\n" + some + b"\n\n"))
def test_nothing_else_is_raised(data: bytes) -> None:
    """Bytes of any kind are read or refused."""
    with suppress(NotLdif):
        read_entry(data)


@given(st.integers(0, len(CAROL) - 1))
def test_a_part_is_never_taken_for_the_whole(cut: int) -> None:
    """However the text is cut off, it is refused: half a password in base64 is base64, too."""
    with pytest.raises(NotLdif):
        read_entry(CAROL[:cut])


@given(st.integers(0, len(CAROL) - 1), st.integers(0, 255))
def test_a_refusal_holds_no_value(at: int, byte: int) -> None:
    """Neither a refusal nor the object itself shows what stood in it."""
    data = CAROL[:at] + bytes([byte]) + CAROL[at + 1 :]
    try:
        shown = repr(read_entry(data))
    except NotLdif as error:
        shown = repr((error, error.__context__))
    assert "TG9uZy01" not in shown
    assert "Long-5" not in shown


def test_a_folded_password_is_whole() -> None:
    """An object as Samba 4.17 wrote it."""
    assert read_entry(CAROL).text("VIRTUALcleartextutf8") == "Long-5-" + "z" * 45


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"sn: x\n\n",
        b"dn: a\n\ndn: b\n\n",
        b"dn: a\ndn: b\n\n",
        b" dn: a\n\n",
        b"dn: a\npassword:< file:///etc/passwd\n\n",
        b"dn: a\nsn:: QQ\n\n",
        b"dn: a\nsn:: QR==\n\n",
        b"dn:: //8=\n\n",
        b"dn: a\nsn: x\0\n\n",
        b"dn: a\n" + b"x" * MOST_BYTES + b"\n\n",
    ],
)
def test_what_is_no_object_is_refused(data: bytes) -> None:
    """Several objects, values elsewhere, careless base64, no name."""
    with pytest.raises(NotLdif):
        read_entry(data)


def test_a_version_and_comments_are_passed_over() -> None:
    """What RFC 2849 allows around an object."""
    entry = read_entry(b"version: 1\n# of\n #it\ndn: a\n# c: d\nsn: x\n\n")
    assert dict(entry.attributes) == {"sn": (b"x",)}
