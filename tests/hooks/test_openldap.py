"""``hook openldap``: what an operation means, what is held, and when a change goes to the gateway."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.hooks import held
from passferry.hooks.ber import bind_request
from passferry.hooks.clear_text import looks_hashed
from passferry.hooks.held import Held, Pending, Ticket
from passferry.hooks.ldap_bind import Bound, bound
from passferry.hooks.openldap_intent import NewPassword, Refuse, intent, reply
from passferry.hooks.self_test import Grade
from passferry.hooks.self_test_openldap import entries, entries_of_conf, judge, of_ldapi
from passferry.hooks.slapd_sock import EXOP, Extended, Key, Write

KEY = Key(1000, 2)
ALICE = "uid=alice,dc=example,dc=org"


def exop(*fields: tuple[int, bytes], binddn: str = ALICE) -> Extended:
    """A password modify."""
    inside = b"".join(bytes([tag, len(value)]) + value for tag, value in fields)
    return Extended(KEY, binddn, EXOP, bytes([0x30, len(inside)]) + inside)


@given(st.binary(max_size=40), st.booleans())
def test_a_hash_is_never_taken_for_a_password(value: bytes, by_exop: bool) -> None:
    """Invariant: what comes out as a password is what went in, UTF-8, not empty, and no hash."""
    for given_value in (value, b"{SSHA}" + value):
        block = exop((0x82, given_value)) if by_exop else Write(KEY, ALICE, (given_value,))
        found = intent(block, "uid")
        if isinstance(found, NewPassword):
            assert found == NewPassword(ALICE, "alice", given_value)
            assert given_value.decode()
            assert not looks_hashed(given_value)


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (Write(KEY, ALICE, (b"{SSHA}x",)), None),
        (Write(KEY, ALICE, ()), None),
        (Write(KEY, "cn=printer,dc=example,dc=org", (b"a", b"b")), None),
        (Write(KEY, "no name", (b"a",)), 19),
        (Write(KEY, ALICE, (b"a", b"b")), 19),
        (Write(KEY, ALICE, (b"a", b"{SSHA}x")), 19),
        (Write(KEY, ALICE, (b"",)), 19),
        (Write(KEY, ALICE, (b"\xff",)), 19),
        (exop((0x80, ALICE.encode())), 19),
        (exop((0x82, b"{SSHA}x")), 19),
        (exop((0x80, b"cn=service,dc=example,dc=org")), None),
        (exop((0x80, b"userid=#0405616c696365,dc=o"), (0x82, b"New-1")), 19),
        (exop((0x80, b"dn:uid=alice,dc=o"), (0x82, b"New-1")), 19),
        (exop((0x80, b"u:alice"), (0x82, b"New-1")), 19),
        (exop((0x80, b""), (0x82, b"New-1")), 19),
        (exop((0x80, b"\xff"), (0x82, b"New-1")), 19),
        (exop((0x80, b"uid=al\xc2\xadice,dc=o"), (0x82, b"New-1")), 19),
        (exop((0x80, b"uid=alice+userid=bob,dc=o"), (0x82, b"New-1")), 19),
        (exop((0x80, b"2.5.4.3=printer,dc=o"), (0x82, b"New-1")), None),
        (exop((0x82, b"New-1"), binddn=""), 80),
        (Extended(KEY, ALICE, EXOP, b"junk"), 19),
        (Extended(KEY, ALICE, "1.3.6.1.4.1.4203.1.11.3", b""), None),
    ],
)
def test_what_is_refused_and_what_is_let_through(block: Extended | Write, code: int | None) -> None:
    """Never with code 53, after which slapd would go on with an extended operation."""
    found = intent(block, "uid")
    assert found is None if code is None else isinstance(found, Refuse) and found.code == code


@pytest.mark.parametrize(
    "spelled",
    [
        "userid=alice",
        "0.9.2342.19200300.100.1.1=alice",
        "OID.0.9.2342.19200300.100.1.1 = alice ",
        r"UserID=\61lice\20",
        "uid=\uff41\uff4c\uff49\uff43\uff45",
        "cn=x+userid=alice",
    ],
)
def test_a_user_is_known_however_a_client_spells_the_name(spelled: str) -> None:
    """A directory may take all of these for the same entry (RFC 4512 section 2.5, RFC 4518)."""
    dn = f"{spelled},dc=example,dc=org"
    for block in (exop((0x80, dn.encode()), (0x82, b"New-1")), Write(KEY, dn, (b"New-1",))):
        found = intent(block, "uid")
        assert isinstance(found, NewPassword)
        assert (found.dn, found.user) == (dn, "alice")


def test_an_oid_of_an_attribute_that_is_not_known_here_is_refused() -> None:
    """It may be that of the users' names, in the directory's own schema."""
    found = intent(exop((0x80, b"1.3.6.1.4.1.9=alice,dc=o"), (0x82, b"New-1")), "staffNumber")
    assert isinstance(found, Refuse)


def test_the_attribute_of_the_name_is_a_setting() -> None:
    """Whatever its case, and wherever it stands in the first part of the DN."""
    found = intent(Write(KEY, "cn=x+MAIL=a@example.com,dc=o", (b"New-1",)), "Mail")
    assert isinstance(found, NewPassword)
    assert found.user == "a@example.com"


def test_an_answer_stays_on_its_lines() -> None:
    """A reason with line ends in it adds no line to the answer."""
    assert reply(None) == b"CONTINUE\n"
    assert reply(Refuse(19, "no\ncode: 0")) == b"RESULT\ncode: 19\nmatched: \ninfo: no code: 0\n"


# --- held ------------------------------------------------------------------------------------


def pending(text: bytes = b"Secret-1") -> Pending:
    """One to hold."""
    return Pending(ALICE, "alice", bytearray(text))


def test_what_is_held_is_given_once_and_only_to_its_slapd() -> None:
    """Another process, a new slapd that counts from the start, gets nothing."""
    desk = Held()
    assert desk.keep(Ticket(7, KEY), pending(), 0.0)
    assert desk.take(Ticket(8, KEY), 1.0) is None
    assert desk.take(Ticket(7, KEY), 1.0) is not None
    assert desk.take(Ticket(7, KEY), 1.0) is None


def test_what_is_held_too_long_or_replaced_is_given_up_but_not_forgotten() -> None:
    """No result takes it any more; it is given once to whoever asks slapd about it."""
    desk, old, replaced = Held(), pending(), pending()
    desk.keep(Ticket(7, KEY), replaced, 0.0)
    desk.keep(Ticket(7, KEY), old, 1.0)
    assert desk.unreported(1.0) == [replaced]
    assert desk.take(Ticket(7, KEY), 1.0 + held.SECONDS) is None
    assert [desk.unreported(1.0 + held.SECONDS), desk.unreported(1.0 + held.SECONDS)] == [[old], []]


def test_no_more_are_held_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were given up count until somebody looks after them."""
    monkeypatch.setattr(held, "MOST", 2)
    desk = Held()
    kept = [desk.keep(Ticket(7, Key(1, number)), pending(), 0.0) for number in range(3)]
    assert kept == [True, True, False]
    assert not desk.keep(Ticket(7, KEY), pending(), held.SECONDS)
    assert len(desk.unreported(held.SECONDS)) == 2
    assert desk.keep(Ticket(7, KEY), pending(), held.SECONDS)


# --- slapd itself ----------------------------------------------------------------------------


@contextmanager
def ldapi(path: Path, answer: bytes) -> Iterator[list[bytes]]:
    """Something that answers one bind."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(10)

        def serve() -> None:
            line, _ = listener.accept()
            with line:
                asked.append(line.recv(4096))
                line.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join(10)


def bind_response(code: int | None) -> bytes:
    """What slapd answers to a bind; nothing for None."""
    return b"" if code is None else bytes.fromhex(f"300c02010161070a01{code:02x}04000400")


@pytest.mark.parametrize(
    ("code", "wanted"),
    [(0, Bound.YES), (49, Bound.NO), (53, Bound.UNKNOWN), (51, Bound.AWAY), (None, Bound.AWAY)],
)
def test_slapd_is_asked_by_a_bind(tmp_path: Path, code: int | None, wanted: Bound) -> None:
    """Success and invalid credentials say what they say; everything else says nothing."""
    with ldapi(tmp_path / "ldapi", bind_response(code)) as asked:
        found, _ = bound(tmp_path / "ldapi", ALICE, b"New-1", 5.0)
    assert found is wanted
    assert asked == [bind_request(1, ALICE.encode(), b"New-1")]


def test_nobody_is_asked_about_an_empty_password(tmp_path: Path) -> None:
    """That would be an anonymous bind, which succeeds."""
    assert bound(tmp_path / "none", ALICE, b"") == (Bound.NO, "")
    assert bound(tmp_path / "none", ALICE, b"x")[0] is Bound.AWAY


# --- the self-test ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "grade", "word"),
    [
        (49, Grade.OK, "lets users log in"),
        (13, Grade.FAIL, "lets no user log in"),
        (53, Grade.FAIL, "with code 53"),
        (51, Grade.FAIL, "is not reached"),
        (None, Grade.FAIL, "is not reached"),
    ],
)
def test_whether_users_may_log_in_is_tried(tmp_path: Path, code: int | None, grade: Grade, word: str) -> None:
    """A wrong password is what a slapd says of nobody that takes passwords there."""
    with ldapi(tmp_path / "ldapi", bind_response(code)):
        check = of_ldapi(tmp_path / "ldapi")
    assert (check.grade, word in check.what) == (grade, True), check.what


CONF = """\
database mdb
suffix dc=example,dc=org
access to attrs=userPassword by self write by anonymous auth by * none
access to attrs=entry by self write by * read
overlay ppolicy
overlay sock
extensions  binddn peername ssf connid
socketpath  /run/x.sock
sockops     extended modify add
sockresps   result
"""
LDIF = """\
dn: olcDatabase={1}mdb,cn=config
olcAccess: {0}to attrs=userPassword by self write by * none
olcAccess: {1}to attrs=entry by self write by * read

dn: olcOverlay={0}ppolicy,olcDatabase={1}mdb,cn=config
olcOverlay: {0}ppolicy

dn: olcOverlay={1}sock,olcDatabase={1}mdb,cn=config
olcOverlay: {1}sock
olcDbSocketPath: /run/x.sock
olcDbSocketExtensions: binddn
olcDbSocketExtensions: connid
olcOvSocketOps: extended modify add
olcOvSocketResps: result

"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("", "", ""),
        ("/run/x.sock", "/run/y.sock", "no `overlay sock`"),
        ("ssf connid", "ssf", "`extensions` lacks connid"),
        ("sockresps   result\n", "", "`sockresps result` is missing"),
        ("extended modify add", "modify add", "`sockops` lacks extended"),
        ("extended modify add", "extended", "`sockops` lacks add modify"),
        ("extended modify add", "extended modify add bind", "of no use here"),
        ("overlay ppolicy\n", "", ""),
        ("sockresps   result\n", "sockresps result\noverlay ppolicy\n", "before `overlay ppolicy`"),
        ("access to attrs=entry by self write by * read\n", "", "cannot change their own"),
        ("access to attrs=entry", "access to * by * read\naccess to attrs=entry", "cannot change their own"),
        ("database mdb", "security simple_bind=128\ndatabase mdb", "simple_bind=128` forbids"),
        ("database mdb", "security simple_bind=128\nlocalSSF 128\ndatabase mdb", ""),
        ("suffix", "security ssf=72 update_ssf=128\nsuffix", "ssf=72` forbids"),
    ],
)
def test_the_self_test_says_what_slapd_lacks(old: str, new: str, says: str) -> None:
    """In the words of slapd.conf."""
    found = judge(entries_of_conf(CONF.replace(old, new) if old else CONF), "/run/x.sock")
    failed = [check.what for check in found if check.grade is not Grade.OK]
    assert (says in " ".join(failed)) if says else failed == []


def test_the_self_test_reads_both_kinds_of_configuration() -> None:
    """``slapcat -n 0`` of the folder, and the file."""
    for found in (entries(LDIF.encode()), entries_of_conf(CONF)):
        assert [check.grade for check in judge(found, "/run/x.sock")] == [Grade.OK]
    wrong = LDIF.replace("olcDbSocketExtensions: connid\n", "")
    assert [check.grade for check in judge(entries(wrong.encode()), "/run/x.sock")] == [Grade.FAIL]


@pytest.mark.parametrize("gap", ["\t", " \t ", "\n\t"])
def test_the_self_test_reads_a_file_with_tabs_and_capitals(gap: str) -> None:
    """As slapd does: any white space, also that of a line that goes on, and keywords in any letters."""
    text = "\n".join(
        gap.join([line.split()[0].title(), *line.split()[1:]]) if line.split() else ""
        for line in CONF.splitlines()
    )
    assert text != CONF
    assert [check.grade for check in judge(entries_of_conf(text), "/run/x.sock")] == [Grade.OK]
    for strength, grades in ((72, [Grade.OK]), (129, [Grade.OK, Grade.FAIL])):
        said = f"localSSF{gap}128\nsecurity{gap}ssf={strength}\n"
        assert [check.grade for check in judge(entries_of_conf(said + text), "/run/x.sock")] == grades
