"""``passferry hook openldap`` under a real slapd, driven by OpenLDAP's own tools, read back at the target."""

import socket
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import ANY

import pytest

from passferry.simulator import Settings
from process.harness import Home, Running, StandIn, home, until
from process.leaks import files, processes, search
from sources.programs import USED, folder, used
from sources.slapd import FIRST, PORTAL, PORTAL_PASSWORD, SUFFIX, Slapd, dn, person, slapd, user, write

SETTLED = 1.5
"""Seconds in which a change would arrive that must not: they take a tenth of it."""
QUIET = Settings.calm(rate=100_000)


@dataclass
class Scene:
    """Target, gateway, hook, directory; every test takes users of its own."""

    target: StandIn
    place: Home
    gateway: Running
    directory: Slapd
    key: str
    free: list[str]
    hook: Running | None = None

    def user(self) -> str:
        """A user of both sides, by the name that both know."""
        return self.free.pop()

    def environment(self, **more: str) -> dict[str, str]:
        spool = self.place.root / "spool"
        return {
            "PASSFERRY_URL": self.gateway.url,
            "PASSFERRY_API_KEY": self.key,
            "PASSFERRY_HOOK_SPOOL": str(spool),
        } | more

    def options(self) -> list[str]:
        return [
            *("--socket", str(self.directory.socket), "--ldapi", str(self.directory.ldapi)),
            *("--slapd-user", user()),
        ]

    def start(self, **more: str) -> Running:
        """The hook."""
        self.hook = self.place.spawn("hook", "openldap", *self.options(), env=self.environment(**more))
        running = self.hook

        def listens() -> bool:
            assert running.process.poll() is None, running.log()
            return b"listens at" in running.out.read_bytes()

        until(listens, 30, "the hook")
        return running

    def arrived(self, who: str, *passwords: str, seconds: float = 20.0) -> None:
        """Wait for the last one, and compare them all."""
        until(lambda: self.target.passwords(who)[-1:] == list(passwords[-1:]), seconds, f"{who}'s password")
        assert self.target.passwords(who) == list(passwords)

    def nothing_for(self, who: str) -> None:
        time.sleep(SETTLED)
        assert self.target.passwords(who) == []

    def leaks(self) -> list[str]:
        """Where any password is that a test of this process has used."""
        places = [*files(self.place.root), *processes(self.place.started, "cmdline", "environ")]
        return search(sorted(USED), places)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """One of everything for all tests of this file."""
    with (
        folder("slapd") as below,
        StandIn(QUIET, users=60) as target,
        home(below / "home", target.settings()) as place,
    ):
        names = [name for _, name in target.active_users()]
        gateway = place.serve()
        (below / "s").mkdir()
        with slapd(below / "s", names) as directory:
            made = Scene(target, place, gateway, directory, place.key("openldap"), names)
            made.start()
            yield made
            assert made.leaks() == []


def test_a_password_that_an_administrator_sets_arrives(scene: Scene) -> None:
    """``ldappasswd`` with a name, the extended operation of RFC 3062."""
    who = scene.user()
    assert scene.directory.passwd(who, "Nëw-Passw0rd 26") == (0, "")
    scene.arrived(who, "Nëw-Passw0rd 26")
    assert scene.directory.takes(who, "Nëw-Passw0rd 26")


def test_a_password_that_a_portals_account_sets_arrives(scene: Scene) -> None:
    """Either way of writing it, and it may write other attributes, too."""
    who, portal = scene.user(), {"by": PORTAL, "old": PORTAL_PASSWORD}
    assert scene.directory.passwd(who, "New-Passw0rd-1", **portal) == (0, "")
    scene.arrived(who, "New-Passw0rd-1")
    code, _ = scene.directory.modify(write(who, "replace New-Passw0rd-2"), **portal)
    assert code == 0
    scene.arrived(who, "New-Passw0rd-1", "New-Passw0rd-2")
    code, _ = scene.directory.modify(write(who, "replace Clerk", attribute="title"), **portal)
    assert code == 0


def test_a_password_that_users_set_themselves_arrives(scene: Scene) -> None:
    """``ldappasswd`` without a name: the user is whoever is bound."""
    who = scene.user()
    assert scene.directory.passwd(who, "New-Passw0rd-1", by=who, old=FIRST) == (0, "")
    scene.arrived(who, "New-Passw0rd-1")


def test_what_users_might_write_before_they_still_may(scene: Scene) -> None:
    """``shadowLastChange``, which clients write along with a password, by Debian's own rule; no more."""
    who = scene.user()
    code, said = scene.directory.modify(
        write(who, "replace 20000", attribute="shadowLastChange"), by=who, old=FIRST
    )
    assert code == 0, said
    code, said = scene.directory.modify(write(who, "replace Chief", attribute="title"), by=who, old=FIRST)
    assert (code, "Insufficient access (50)" in said) == (50, True), said


@pytest.mark.parametrize("name", ["userid", "0.9.2342.19200300.100.1.1", "UID"])
def test_another_spelling_of_a_name_is_no_way_around_the_policy(scene: Scene, name: str) -> None:
    """slapd takes it for the same user, and so does the hook: it is checked, and it arrives."""
    who = scene.user()
    spelled = f"{name}={who},{SUFFIX}"
    code, said = scene.directory.passwd(who, "no digit, no capital", spelled=spelled)
    assert (code, "Constraint violation (19)" in said) == (1, True), said
    assert scene.directory.takes(who, FIRST)
    assert scene.directory.passwd(who, "Spelled-Passw0rd-1", by=who, old=FIRST, spelled=spelled) == (0, "")
    scene.arrived(who, "Spelled-Passw0rd-1")


def test_a_spelling_that_cannot_be_read_is_refused(scene: Scene) -> None:
    """With a soft hyphen in it, which a directory may overlook (RFC 4518 section 2.2): it is no name."""
    who = scene.user()
    spelled = f"uid={who[0]}\u00ad{who[1:]},{SUFFIX}"
    code, said = scene.directory.passwd(who, "Spelled-Passw0rd-1", spelled=spelled)
    assert (code, "Constraint violation (19)" in said) == (1, True), said
    assert scene.directory.takes(who, FIRST)


def test_a_direct_write_arrives(scene: Scene) -> None:
    """``ldapmodify`` in clear: put in the place of the old one, and deleted and added, by the user."""
    who = scene.user()
    code, said = scene.directory.modify(write(who, "replace Direct-Passw0rd-1"))
    assert code == 0, said
    scene.arrived(who, "Direct-Passw0rd-1")
    swap = write(who, "delete Direct-Passw0rd-1", "add Direct-Passw0rd-2")
    code, said = scene.directory.modify(swap, by=who, old="Direct-Passw0rd-1")
    assert code == 0, said
    scene.arrived(who, "Direct-Passw0rd-1", "Direct-Passw0rd-2")


def test_the_password_of_a_new_entry_arrives(scene: Scene) -> None:
    """``ldapadd`` of a user with a password in clear."""
    who = scene.user()
    scene.directory.modify(f"dn: {dn(who)}\nchangetype: delete\n\n")
    code, said = scene.directory.modify(person(who, "Added-Passw0rd-1"))
    assert code == 0, said
    scene.arrived(who, "Added-Passw0rd-1")


def test_a_hash_is_no_password(scene: Scene) -> None:
    """A value with a scheme is let through to the directory and goes no further."""
    who = scene.user()
    code, said = scene.directory.modify(write(who, "replace {SSHA}87adB+WVzJtTBt6quNDI1nSX+fsTgNqP"))
    assert code in (0, 19), said
    scene.nothing_for(who)


def test_a_password_that_the_server_makes_up_is_refused(scene: Scene) -> None:
    """The gateway would never see it; the old one stays. After code 53 it would not."""
    who = scene.user()
    code, said = scene.directory.passwd(who, None)
    assert (code, "Constraint violation (19)" in said) == (1, True), said
    assert "makes up" in said
    assert scene.directory.takes(who, FIRST)


@pytest.mark.parametrize("way", ["exop", "modify"])
def test_what_the_policy_refuses_is_refused_before_it_is_written(scene: Scene, way: str) -> None:
    """Constraint violation (19) with the gateway's reasons; directory and target keep what they had."""
    who, weak = scene.user(), "nothing but small letters"
    code, said = (
        scene.directory.passwd(who, weak, by=who, old=FIRST)
        if way == "exop"
        else scene.directory.modify(write(who, f"replace {weak}"), by=who, old=FIRST)
    )
    assert code != 0
    assert "Constraint violation (19)" in said
    assert "upper" in said.lower() or "capital" in said.lower(), said
    assert scene.directory.takes(who, FIRST)
    scene.nothing_for(who)


@pytest.mark.parametrize("way", ["exop", "modify"])
def test_what_ppolicy_refuses_is_not_handed_over(scene: Scene, way: str) -> None:
    """The directory's own refusal comes after the gateway's consent."""
    who, short = scene.user(), "Short-1a!"  # nine: enough for the gateway, not for ppolicy
    code, said = (
        scene.directory.passwd(who, short, by=who, old=FIRST)
        if way == "exop"
        else scene.directory.modify(write(who, f"replace {short}"), by=who, old=FIRST)
    )
    assert code != 0
    assert "Password fails quality checking policy" in said
    scene.nothing_for(who)


def test_two_passwords_at_once_are_refused(scene: Scene) -> None:
    """Nobody could say which of them is the user's."""
    who = scene.user()
    code, said = scene.directory.modify(write(who, "add Second-Passw0rd-1", "add Third-Passw0rd-1"))
    assert (code, "more than one password" in said) == (19, True), said


def test_of_two_quick_changes_the_last_is_the_one_that_stays(scene: Scene) -> None:
    """Whatever was overtaken on the way, directory and target agree."""
    who = scene.user()
    for number in range(3):
        assert scene.directory.passwd(who, f"Quick-Passw0rd-{number}")[0] == 0
    until(lambda: scene.target.passwords(who)[-1:] == ["Quick-Passw0rd-2"], 20, "the last one")
    time.sleep(SETTLED)
    written = scene.target.passwords(who)
    assert written == sorted(written)
    assert written[-1] == "Quick-Passw0rd-2"


ODD = {
    "leading hyphen": "--Passw0rd -a",
    "quotes": "Quote'\"`$(x)\\ 1",
    "emoji": "Passw0rd-😀🔑 x",
    "spaces at both ends": "  Passw0rd-a  ",
    "composed": unicodedata.normalize("NFC", "Pässw0rd-é a"),
    "decomposed": unicodedata.normalize("NFD", "Pässw0rd-é a"),
    "brace": "{Passw0rd} -a x!",
    "long": "Aa1-" + "x" * 396,
}


@pytest.mark.parametrize("name", ODD)
def test_odd_passwords_arrive_as_they_are(scene: Scene, name: str) -> None:
    """Byte for byte, by extended operation and by modify."""
    who, password = scene.user(), ODD[name]
    if name == "brace":
        password = "a" + password
    code, said = scene.directory.passwd(who, password)
    assert code == 0, said
    scene.arrived(who, password)
    code, said = scene.directory.modify(write(who, f"replace {password}2"))
    if name == "long":
        assert "19" in said
        return
    assert code == 0, said
    scene.arrived(who, password, password + "2")


@pytest.mark.parametrize("length", [1, 512])
def test_lengths_that_the_target_never_takes_are_refused_here(scene: Scene, length: int) -> None:
    """With the gateway's reason, and nothing is written."""
    who = scene.user()
    code, said = scene.directory.passwd(who, ("Aa1-" * 128)[:length])
    assert (code, "(19)" in said) == (1, True), said
    assert scene.directory.takes(who, FIRST)


def test_other_writes_are_let_through(scene: Scene) -> None:
    """Neither an attribute with lines that look like a password's, nor another object, is taken for one."""
    who = scene.user()
    forged = "x\n-\nreplace: userPassword\nuserPassword: Forged-Passw0rd-1\n\nRESULT\ncode: 0\n"
    code, said = scene.directory.modify(
        write(who, f"replace {forged}", attribute="description"), by=who, old=FIRST
    )
    assert code == 0, said
    machine = "dn: cn=printer,dc=example,dc=org\nobjectClass: device\ncn: printer\n\n"
    assert scene.directory.modify(machine)[0] == 0
    scene.nothing_for(who)


# --- a client that lies ----------------------------------------------------------------------


def ber(tag: int, content: bytes) -> bytes:
    """An item of up to 64 KiB."""
    return bytes([tag, 0x82]) + len(content).to_bytes(2, "big") + content


def message(number: int, operation: bytes) -> bytes:
    """Of LDAP."""
    return ber(0x30, ber(0x02, bytes([number])) + operation)


def change(whom: str, new: str, old: str | None = None) -> bytes:
    """The extended operation of RFC 3062."""
    given = b"" if old is None else ber(0x81, old.encode())
    value = ber(0x30, ber(0x80, dn(whom).encode()) + given + ber(0x82, used(new).encode()))
    return ber(0x77, ber(0x80, b"1.3.6.1.4.1.4203.1.11.1") + ber(0x81, value))


def search_all(base: str = SUFFIX) -> bytes:
    """Of names only."""
    numbers = ber(0x0A, b"\2") + ber(0x0A, b"\0") + ber(0x02, b"\0") + ber(0x02, b"\0") + ber(0x01, b"\0")
    wanted = ber(0x87, b"objectClass") + ber(0x30, ber(0x04, b"1.1"))
    return ber(0x63, ber(0x04, base.encode()) + numbers + wanted)


@contextmanager
def logged_in(port: int, who: str, password: str) -> Iterator[socket.socket]:
    """A connection of a user."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        simple = ber(0x60, ber(0x02, b"\3") + ber(0x04, dn(who).encode()) + ber(0x80, password.encode()))
        line.sendall(message(1, simple))
        assert b"\x0a\x01\x00" in line.recv(200)
        yield line


def test_the_success_of_something_else_is_not_taken_for_that_of_a_change(scene: Scene) -> None:
    """A user may not change another's password, though slapd reports success under the same number."""
    attacker, victim = scene.user(), scene.user()
    with logged_in(scene.directory.port, attacker, FIRST) as line:
        for number in range(2, 12):  # both at once, in a race
            line.sendall(message(number, change(victim, "Forged-Passw0rd-1")) + message(number, search_all()))
        for number in range(12, 16):  # one after the other: a wrong old password is never reported
            line.sendall(message(number, change(victim, "Forged-Passw0rd-1", "wrong")))
            time.sleep(0.1)
            line.sendall(message(number, search_all()))
        time.sleep(SETTLED)
    scene.nothing_for(victim)
    assert scene.directory.takes(victim, FIRST)


def test_the_failure_of_something_else_is_not_taken_for_that_of_a_change(scene: Scene) -> None:
    """Searches of nothing fail under the number of a change while it is made: it arrives all the same."""
    who, set_so_far = scene.user(), [FIRST]
    with logged_in(scene.directory.port, who, FIRST) as line:
        for number in range(2, 6):
            mine = change(who, f"Same-Passw0rd-{number}", set_so_far[-1])
            line.sendall(message(number, mine) + 200 * message(number, search_all(f"cn=no,{SUFFIX}")))
            set_so_far.append(f"Same-Passw0rd-{number}")
            scene.arrived(who, *set_so_far[1:])


# --- bad days --------------------------------------------------------------------------------


def test_while_the_gateway_is_away_changes_are_kept_and_handed_over_later(scene: Scene) -> None:
    """The directory goes on; what was spooled arrives once the gateway is back, the newest last."""
    first, second = scene.user(), scene.user()
    assert scene.directory.passwd(first, "Before-Passw0rd-1")[0] == 0
    scene.arrived(first, "Before-Passw0rd-1")
    port = scene.gateway.url.rpartition(":")[2]
    assert scene.gateway.stop() == 0
    assert scene.directory.passwd(first, "While-Passw0rd-2") == (0, "")
    assert scene.directory.passwd(second, "While-Passw0rd-1") == (0, "")
    assert scene.directory.passwd(first, "While-Passw0rd-3") == (0, "")
    spool = scene.place.root / "spool"
    until(lambda: len(list(spool.glob("*.letter"))) == 3, 20, "three letters")
    secrets = ["While-Passw0rd-1", "While-Passw0rd-2", "While-Passw0rd-3"]
    assert (
        search(secrets, [*files(scene.place.root), *processes(scene.place.started, "cmdline", "environ")])
        == []
    )
    scene.gateway = scene.place.spawn("serve", "--listen", f"127.0.0.1:{port}", "--json").listening()
    scene.arrived(second, "While-Passw0rd-1", seconds=40)
    until(lambda: scene.target.passwords(first)[-1:] == ["While-Passw0rd-3"], 40, "the newest")
    assert not list(spool.glob("*.letter"))


def test_the_hook_ends_well_and_starts_again_after_a_crash(scene: Scene) -> None:
    """SIGTERM leaves no socket behind; kill -9 does, and it is no hindrance. Without a hook slapd refuses."""
    who = scene.user()
    hook = scene.hook
    assert hook is not None
    assert hook.stop(20) == 0
    assert not scene.directory.socket.exists()
    for new in ("Nobody-Passw0rd-1", "Nobody-Passw0rd-2"):
        code, said = scene.directory.passwd(who, new)
        assert code != 0, said
    assert scene.directory.takes(who, FIRST)
    scene.start().kill()
    assert scene.directory.socket.exists()
    scene.start()
    assert scene.directory.passwd(who, "Again-Passw0rd-1") == (0, "")
    scene.arrived(who, "Again-Passw0rd-1")


def test_a_second_hook_does_not_take_the_socket_away(scene: Scene) -> None:
    """It says so and ends, and the first one goes on."""
    done = scene.place.run("hook", "openldap", *scene.options(), env=scene.environment())
    assert (done.code, "another `passferry hook openldap` serves" in done.text) == (2, True)
    who = scene.user()
    assert scene.directory.passwd(who, "Still-Passw0rd-1") == (0, "")
    scene.arrived(who, "Still-Passw0rd-1")


def test_only_slapd_may_use_the_socket(scene: Scene) -> None:
    """It belongs to the user who runs slapd, and nobody else may even connect."""
    found = scene.directory.socket.stat()
    assert (scene.directory.socket.owner(), found.st_mode & 0o777) == (user(), 0o600)


def test_without_the_gateway_a_veto_that_is_closed_refuses(scene: Scene) -> None:
    """``when_away = refuse``: no verdict, no change."""
    hook = scene.hook
    assert hook is not None
    hook.stop(20)
    scene.start(PASSFERRY_URL="http://127.0.0.1:9", PASSFERRY_HOOK_WHEN_AWAY="refuse")
    who = scene.user()
    code, said = scene.directory.passwd(who, "Closed-Passw0rd-1")
    assert (code, "cannot be checked" in said) == (1, True), said
    assert scene.directory.takes(who, FIRST)
    assert scene.hook is not None
    scene.hook.stop(20)
    scene.start()


def test_the_self_test_finds_nothing_wrong_with_this_set_up(scene: Scene) -> None:
    """Every check of the overlay, the socket and ldapi is passed, in slapd's words."""
    options = [*scene.options(), "--slapd-config", str(scene.directory.config), "--self-test"]
    done = scene.place.run("hook", "openldap", *options, env=scene.environment())
    assert "the overlay of olcdatabase={1}mdb,cn=config is set up as it should" in done.text
    assert f"slapd lets users log in at {scene.directory.ldapi}" in done.text
    assert (done.code, "fail" in done.text.split()) == (0, False), done.text


def test_nothing_secret_was_left_anywhere(scene: Scene) -> None:
    """Neither in the gateway's and the hook's files and logs, nor in arguments and environments."""
    who = scene.user()
    assert scene.directory.passwd(who, "Sought-Passw0rd-1") == (0, "")
    scene.arrived(who, "Sought-Passw0rd-1")  # the second may overtake it otherwise
    assert scene.directory.modify(write(who, "replace Sought-Passw0rd-2")) == (0, ANY)
    scene.arrived(who, "Sought-Passw0rd-1", "Sought-Passw0rd-2")
    assert {"Sought-Passw0rd-1", "Sought-Passw0rd-2"} <= USED
    assert scene.leaks() == []
