"""``passferry hook samba`` under a real domain controller's ``syncpasswords``, read back at the target."""

import shlex
import sys
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hook_texts import LONG, ONE
from passferry.simulator import Settings
from process.harness import Client, Home, Running, StandIn, call, home, until
from process.leaks import files, processes, search
from process.test_hard_passwords import POLICY, TARGET
from process.test_hooks import arrives
from sources.dc import Dc, domain_controller
from sources.programs import USED, folder, used

QUIET = Settings.calm(rate=100_000)


@dataclass
class Scene:
    """Target, gateway, domain controller; every test takes users of its own."""

    target: StandIn
    place: Home
    gateway: Running
    dc: Dc
    script: Path
    key: str
    free: list[str]

    def user(self) -> str:
        """A user of the target by the part of the name that Samba uses."""
        return self.free.pop().partition("@")[0]

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PASSFERRY_URL": self.gateway.url,
            "PASSFERRY_API_KEY": self.key,
            "PASSFERRY_HOOK_SPOOL": str(self.place.root / "spool"),
        } | more

    def write_script(self, *options: str, **more: str) -> None:
        """Samba gives no arguments, so a set-up has a script of a line or two."""
        env = self.place.environment(self.environment(**more))
        lines = [
            f"export {name}={shlex.quote(env[name])}" for name in env if name.startswith(("PASSF", "PYTHON"))
        ]
        command = shlex.join([sys.executable, "-m", "passferry", "hook", "samba", *options])
        self.script.write_text("\n".join(["#!/bin/sh", *lines, f"exec {command}", ""]))
        self.script.chmod(0o700)

    def sync(self) -> str:
        """A pass that goes well; what was replied."""
        code, log = self.dc.sync()
        assert code == 0, log
        return log

    def self_test(self) -> str:
        """Passed; what it says."""
        done = self.place.run("hook", "samba", "--self-test", env=self.environment() | self.dc.env)
        assert (done.code, "fail" in done.text.split()) == (0, False), done.text
        return done.text

    def arrived(self, who: str, *passwords: str) -> None:
        """Wait for the last one, and compare them all."""
        name = f"{who}@example.com"
        until(lambda: self.target.passwords(name)[-1:] == list(passwords[-1:]), 30, f"{who}'s password")
        assert self.target.passwords(name) == list(passwords)

    def written(self, who: str) -> list[str]:
        return self.target.passwords(f"{who}@example.com")

    def leaks(self) -> list[str]:
        """Where any password is that a test of this process has used."""
        places = [*files(self.place.root), *processes(self.place.started, "cmdline", "environ")]
        return search(sorted(USED), places)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """One of everything for all tests of this file; the first pass, over every account there is, is made."""
    with (
        folder("samba") as below,
        StandIn(QUIET, users=60) as target,
        home(below / "home", target.settings()) as place,
    ):
        gateway = place.serve()
        names = [name for _, name in target.active_users()]
        (below / "s").mkdir()
        with domain_controller(below / "s") as dc:
            made = Scene(target, place, gateway, dc, below / "hook", place.key("samba"), names)
            made.write_script()
            dc.initialize(made.script)
            made.self_test()  # as every set-up begins: it fetches the key to seal to
            log = made.sync()
            assert "DONE-EXIT: left alone: there is no clear text" in log
            yield made
            assert made.leaks() == []


def test_a_life_of_an_account(scene: Scene) -> None:
    """Created, password set, changed twice, disabled, deleted: each password arrives once, and no more."""
    who = scene.user()
    scene.dc.create(who, "First-Passw0rd 1")
    assert "DONE-EXIT: accepted: " in scene.sync()
    scene.arrived(who, "First-Passw0rd 1")
    scene.dc.set_password(who, "Sécond-Passw0rd 2")
    scene.sync()
    scene.arrived(who, "First-Passw0rd 1", "Sécond-Passw0rd 2")
    scene.dc.set_password(who, "Third-Passw0rd-3")
    scene.dc.set_password(who, "Fourth-Passw0rd-4")
    scene.sync()
    four = ("First-Passw0rd 1", "Sécond-Passw0rd 2", "Fourth-Passw0rd-4")
    scene.arrived(who, *four)
    scene.dc.user("disable", who)
    assert "DONE-EXIT: left alone: the account is disabled" in scene.sync()
    scene.dc.user("enable", who)
    assert "DONE-EXIT: left alone: the password is the same as before" in scene.sync()
    scene.dc.user("delete", who)
    assert "DONE-EXIT: left alone: the account is deleted" in scene.sync()
    assert scene.written(who) == list(four)


def test_the_gateway_hears_when_the_password_was_set(scene: Scene) -> None:
    """``pwdLastSet`` is the change's time: what was set before another source's change does not undo it."""
    who = scene.user()
    scene.dc.create(who, "Older-Passw0rd-1")
    client = Client(scene.gateway.url, scene.place.key("portal"))
    time.sleep(0.1)
    answer = call(
        "POST",
        f"{client.url}/sync/password",
        key=scene.key,  # the same source: between two, five minutes are tolerated
        body={"userId": f"{who}@example.com", "password": used("Newer-Passw0rd-1")},
    )
    assert answer.status == 200, answer.raw
    assert "DONE-EXIT: older: " in scene.sync()
    assert scene.written(who) == ["Newer-Passw0rd-1"]


ODD = [
    "--Passw0rd -a",
    "Quote'\"`$(x)\\ 1",
    "Passw0rd-😀🔑 x",
    "  Passw0rd-a  ",
    "Aa1-" + "x" * 250,
    unicodedata.normalize("NFC", "Pässw0rd-é"),
    unicodedata.normalize("NFD", "Pässw0rd-é"),
]


def test_odd_passwords_arrive_as_they_are(scene: Scene) -> None:
    """Byte for byte, folded or not."""
    users = {password: scene.user() for password in ODD}
    for password, who in users.items():
        scene.dc.create(who, password)
    scene.sync()
    for password, who in users.items():
        scene.arrived(who, password)


def test_the_shortest_and_the_longest_arrive(scene: Scene, tmp_path: Path) -> None:
    """One character, where the domain and the org's policy allow it, and 512."""
    scene.dc.allow_every_password()
    with StandIn(TARGET) as target, home(tmp_path / "gateway", target.settings(), **POLICY) as place:
        users = {password: scene.user() for password in (ONE, LONG)}
        scene.write_script(PASSFERRY_URL=place.serve().url, PASSFERRY_API_KEY=place.key("samba"))
        for password, who in users.items():
            scene.dc.user("create", "--", who, password)  # not looked for elsewhere: the one is everywhere
        scene.sync()
        for password, who in users.items():
            arrives(target, who, password)
    scene.write_script()


def test_a_password_that_has_to_be_changed_is_handed_over_too(scene: Scene) -> None:
    """``pwdLastSet`` is 0 then, and the key's version tells that it is a new one."""
    who = scene.user()
    scene.dc.create(who, "First-Passw0rd-1")
    scene.sync()
    scene.dc.set_password(who, "Initial-Passw0rd-2", "--must-change-at-next-login")
    assert "DONE-EXIT: accepted: " in scene.sync()
    scene.arrived(who, "First-Passw0rd-1", "Initial-Passw0rd-2")


def test_a_password_that_the_policy_refuses_is_settled(scene: Scene) -> None:
    """It cannot be refused here any more; Samba is told so, goes on, and the next one arrives."""
    who = scene.user()
    scene.dc.create(who, "Second Word 22")
    log = scene.sync()
    assert "DONE-EXIT: refused: " in log, log
    scene.dc.set_password(who, "Accepted-Passw0rd-1")
    scene.sync()
    scene.arrived(who, "Accepted-Passw0rd-1")


def test_while_the_gateway_is_away_passwords_are_kept_and_handed_over_later(scene: Scene) -> None:
    """Samba goes on; the newest arrives once the gateway is back, by the next call of the hook."""
    who, next_one = scene.user(), scene.user()
    port = scene.gateway.url.rpartition(":")[2]
    assert scene.gateway.stop() == 0
    scene.dc.create(who, "While-Passw0rd-1")
    assert "DONE-EXIT: spooled: " in scene.sync()
    scene.dc.set_password(who, "While-Passw0rd-2")
    assert "DONE-EXIT: spooled: " in scene.sync()
    places = [*files(scene.place.root), *processes(scene.place.started, "cmdline", "environ")]
    assert search(["While-Passw0rd-1", "While-Passw0rd-2"], places) == []
    scene.gateway = scene.place.spawn("serve", "--listen", f"127.0.0.1:{port}", "--json").listening()
    scene.dc.create(next_one, "Later-Passw0rd-1")
    scene.sync()
    scene.arrived(next_one, "Later-Passw0rd-1")
    until(lambda: scene.written(who)[-1:] == ["While-Passw0rd-2"], 20, "the newest")


def test_what_cannot_even_be_kept_is_sent_again(scene: Scene) -> None:
    """No ``DONE-EXIT``: Samba stops, and comes again with the same account once the set-up is mended."""
    who = scene.user()
    closed = scene.place.root / "open-to-all"
    closed.mkdir(exist_ok=True)
    closed.chmod(0o755)
    scene.dc.create(who, "Again-Passw0rd-1")
    scene.write_script(PASSFERRY_HOOK_SPOOL=str(closed))
    code, log = scene.dc.sync()
    assert code != 0
    assert "others may use it" in log
    assert "DONE-EXIT" not in log
    assert scene.written(who) == []
    scene.write_script()
    scene.sync()
    scene.arrived(who, "Again-Passw0rd-1")


def test_another_attribute_may_name_the_user(scene: Scene) -> None:
    """``mail``, where it is the name that Genesys Cloud knows."""
    who, account = scene.user(), "shortname"
    scene.write_script("--user-attribute", "mail")
    scene.dc.create(account, "Mail-Passw0rd-1", f"--mail-address={who}@example.com")
    scene.dc.create("nomail", "Mail-Passw0rd-2")
    assert "DONE-EXIT: left alone: there is no mail" in scene.sync()
    scene.arrived(who, "Mail-Passw0rd-1")
    scene.write_script()


def test_a_password_that_is_set_while_an_account_is_disabled_goes_out_when_it_is_enabled(
    scene: Scene,
) -> None:
    """Nobody can log in with it before; then it arrives, once."""
    who = scene.user()
    scene.dc.create(who, "Before-Passw0rd-1")
    scene.sync()
    scene.arrived(who, "Before-Passw0rd-1")
    scene.dc.set_password(who, "Disabled-Passw0rd-2")
    scene.dc.user("disable", who)  # afterwards: `samba-tool user setpassword` enables an account
    assert "DONE-EXIT: left alone: the account is disabled" in scene.sync()
    assert scene.written(who) == ["Before-Passw0rd-1"]
    scene.dc.user("enable", who)
    assert "DONE-EXIT: accepted: " in scene.sync()
    scene.arrived(who, "Before-Passw0rd-1", "Disabled-Passw0rd-2")


def test_the_account_of_a_machine_is_none_of_its_business(scene: Scene) -> None:
    """Samba does not even tell of it, or is told that it is one; nothing is accepted."""
    scene.dc.create_computer("workstation")
    log = scene.sync()
    assert "DONE-EXIT: accepted: " not in log, log
    assert "DONE-EXIT: refused: " not in log, log


def test_without_the_key_to_decrypt_samba_comes_again(scene: Scene) -> None:
    """GNUPGHOME is missing after an upgrade: the pass ends and says so; once mended, the password arrives."""
    who = scene.user()
    scene.dc.create(who, "Before-Passw0rd-1")
    scene.sync()
    scene.dc.set_password(who, "Locked-Passw0rd-2")
    nowhere = scene.place.root / "no-gnupg"
    nowhere.mkdir(mode=0o700)
    code, log = scene.dc.sync(GNUPGHOME=str(nowhere))
    assert code != 0
    assert f"the new password of '{who}' cannot be decrypted: set GNUPGHOME" in log, log
    scene.sync()
    scene.arrived(who, "Before-Passw0rd-1", "Locked-Passw0rd-2")


def test_a_password_that_is_no_text_stops_nobody(scene: Scene) -> None:
    """One user sets half a surrogate pair: the others go on, the self-test names the account meanwhile."""
    who, other = scene.user(), scene.user()
    scene.dc.create(who, "Before-Passw0rd-1")
    scene.sync()
    scene.dc.set_half_a_pair(who)
    scene.dc.create(other, "Others-Passw0rd-1")
    log = scene.sync()
    assert "DONE-EXIT: left alone: the new password cannot be decrypted, or is no text" in log, log
    scene.arrived(other, "Others-Passw0rd-1")
    assert f"passed over: '{who}'" in scene.self_test()
    scene.dc.set_password(who, "After-Passw0rd-3")
    scene.sync()
    scene.arrived(who, "Before-Passw0rd-1", "After-Passw0rd-3")
    assert f"'{who}'" not in scene.self_test()  # of another test's account it still tells


def test_after_a_wrong_attribute_was_mended_every_account_is_sent_again(scene: Scene) -> None:
    """The operator names the right one, and deletes what was seen: no key of before stands in the way."""
    who, account = scene.user(), "otherwise"
    scene.dc.create(account, "Mended-Passw0rd-1", f"--mail-address={who}@example.com")
    assert "DONE-EXIT: accepted: " in scene.sync()  # of a user whom the target does not know: it is parked
    scene.write_script("--user-attribute", "mail")
    (scene.place.root / "spool" / "samba-seen").unlink()
    scene.dc.initialize(scene.script)
    assert "DONE-EXIT: accepted: " in scene.sync()
    scene.arrived(who, "Mended-Passw0rd-1")
    scene.write_script()


def test_the_self_test_finds_nothing_wrong_with_this_set_up(scene: Scene) -> None:
    """Every check of smb.conf, GnuPG and syncpasswords is passed, in Samba's words."""
    assert "syncpasswords was initialized with every attribute" in scene.self_test()


def test_nothing_secret_was_left_anywhere(scene: Scene) -> None:
    """Neither in files and logs of gateway, hook and Samba's reply, nor in arguments and environments."""
    who = scene.user()
    scene.dc.create(who, "Sought-Passw0rd-1")
    scene.sync()
    scene.arrived(who, "Sought-Passw0rd-1")
    assert "Sought-Passw0rd-1" in USED
    assert scene.leaks() == []
