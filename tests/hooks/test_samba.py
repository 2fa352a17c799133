"""``hook samba``: which accounts are handed over, what is remembered, and what Samba is told."""

import io
import os
import sqlite3
import sys
import syslog
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.hooks import samba
from passferry.hooks.gateway import Gateway, SourceChange
from passferry.hooks.ldif import read_entry
from passferry.hooks.samba_account import HandOver, LeaveAlone, NotSetUp, Seen, decide
from passferry.hooks.samba_seen import SeenUnusable, open_seen, unread_in
from passferry.hooks.self_test import Grade
from passferry.hooks.self_test_samba import Dc, judge, of_unread
from passferry.hooks.settings import HookSettings
from passferry.hooks.verdicts import Answer, Verdict

GUID = "cd22b960-a5ea-430b-9986-1860fefb90a6"
CAROL = f"""\
dn: CN=carol,CN=Users,DC=ex,DC=test
objectGUID: {GUID}
sAMAccountName: carol
userPrincipalName: carol@ex.test
userAccountControl: 512
pwdLastSet: 134399980353990140
whenChanged: 20261124121212.0Z
msDS-KeyVersionNumber: 4
virtualClearTextUTF8:: IC1UaGlyZC1QYXNzJyIzIA==

"""
SEEN = Seen(134399980353990140, 4)


def decided(text: str = CAROL, seen: Seen | None = None, attribute: str = "userPrincipalName") -> object:
    """What is decided about an account."""
    return decide(read_entry(text.encode()), seen, attribute)


def test_a_new_password_is_handed_over_with_its_time() -> None:
    """User, password as it is, the directory's clock, and a key that is the same the next time."""
    change = decided()
    assert isinstance(change, HandOver)
    assert change.password.reveal() == " -Third-Pass'\"3 "
    assert (change.user, change.changed_at, change.seen) == ("carol@ex.test", 1795524435.399014, SEEN)
    assert change.key("l").startswith(f"samba-{GUID}-4-134399980353990140-")
    assert change.key("l") == change.key("l")
    assert "Third" not in repr(change)


@pytest.mark.parametrize(
    ("seen", "handed_over"),
    [
        (None, True),
        (Seen(134399980353990139, 4), True),
        (Seen(134399980353990140, 3), True),
        (SEEN, False),
        (Seen(134399980353990141, 5), False),
    ],
)
def test_only_what_rose_is_a_new_password(seen: Seen | None, handed_over: bool) -> None:
    """``pwdLastSet`` or ``msDS-KeyVersionNumber`` beyond what was handed over last."""
    assert isinstance(decided(seen=seen), HandOver) is handed_over


def test_a_password_that_must_be_changed_has_the_accounts_time_and_a_version() -> None:
    """``pwdLastSet: 0`` is a mark; what was remembered of it before is kept.

    However late Samba calls, the password is no newer than the account's last change: what the user chose
    after that, through another source, wins.
    """
    for seen in (Seen(134399980353990140, 3), None):
        change = decided(CAROL.replace("134399980353990140", "0"), seen)
        assert isinstance(change, HandOver)
        assert change.changed_at == datetime(2026, 11, 24, 12, 12, 13, tzinfo=UTC).timestamp()
        assert change.seen == (Seen(0, 4) if seen is None else SEEN)


@pytest.mark.parametrize("when", ["", "whenChanged: 20261324121212.0Z\n", "whenChanged: yesterday\n"])
def test_without_a_time_such_a_password_is_as_new_as_the_call(when: str) -> None:
    """A set-up of an earlier release goes on; the attribute that ``--attributes`` lacks is named."""
    text = CAROL.replace("134399980353990140", "0").replace("whenChanged: 20261124121212.0Z\n", when)
    change = decided(text)
    assert isinstance(change, HandOver)
    assert change.changed_at is None
    assert change.complaint.endswith("--attributes has to name whenChanged")
    assert decided().complaint == ""  # type: ignore[attr-defined]


HIDDEN = CAROL.replace("virtualClearTextUTF8:: IC1UaGlyZC1QYXNzJyIzIA==\n", "")
LOCKED = HIDDEN.replace("whenChanged", "virtualSambaGPG:: AAAA\nwhenChanged")
BEFORE = Seen(134399980353990139, 3)


@pytest.mark.parametrize(
    ("text", "seen", "why", "remedy"),
    [
        (HIDDEN, None, "there is no clear text", ""),
        (HIDDEN, SEEN, "the password is the same as before", ""),
        (LOCKED, SEEN, "the password is the same as before", ""),
        (HIDDEN, BEFORE, "there is no clear text of the new password", "on every domain controller"),
        (LOCKED, None, "the password cannot be decrypted", "GNUPGHOME"),
        (LOCKED, BEFORE, "the new password cannot be decrypted, or is no text", "choose another"),
    ],
)
def test_a_new_password_without_clear_text_is_complained_of_where_there_was_some(
    text: str, seen: Seen | None, why: str, remedy: str
) -> None:
    """A key that a second controller lacks, or that is not found; not accounts that never had any."""
    found = decided(text, seen)
    assert isinstance(found, LeaveAlone)
    assert found.why == why
    assert remedy in found.remedy if remedy else not found.remedy


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("userAccountControl: 512", "userAccountControl: 514", "disabled"),
        ("userAccountControl: 512", "userAccountControl: 4096", "machine"),
        ("userAccountControl: 512", "userAccountControl: 532480", "machine"),
        ("sAMAccountName: carol", "sAMAccountName: PC1$", "machine"),
        ("sAMAccountName: carol", "sAMAccountName: krbtgt_2011", "Kerberos"),
        ("sAMAccountName: carol", "isDeleted: TRUE", "deleted"),
        ("virtualClearTextUTF8:: IC1UaGlyZC1QYXNzJyIzIA==\n", "", "no clear text"),
        ("IC1UaGlyZC1QYXNzJyIzIA==", "//8=", "not UTF-8"),
        ("userPrincipalName", "mail", "no userPrincipalName"),
    ],
)
def test_other_accounts_are_left_alone(old: str, new: str, why: str) -> None:
    """Disabled, deleted, machines, Kerberos, without clear text, without a name."""
    found = decided(CAROL.replace(old, new))
    assert isinstance(found, LeaveAlone)
    assert why in found.why


@pytest.mark.parametrize(
    "gone",
    ["objectGUID", "userAccountControl", "sAMAccountName", ("pwdLastSet", "msDS-KeyVersionNumber")],
)
def test_a_set_up_that_cannot_tell_changes_apart_is_refused(gone: str | tuple[str, ...]) -> None:
    """The attribute that ``--attributes`` lacks is named."""
    names = (gone,) if isinstance(gone, str) else gone
    text = "".join(line for line in CAROL.splitlines(keepends=True) if not line.startswith(names))
    with pytest.raises(NotSetUp, match=names[0]):
        decided(text)


@given(st.integers(0, 2**64), st.integers(0, 2**32), st.integers(0, 2**64), st.integers(0, 2**32))
def test_what_was_handed_over_is_not_again(last: int, version: int, before: int, earlier: int) -> None:
    """Invariant: the same account, decided on after a hand-over, is left alone."""
    text = CAROL.replace("134399980353990140", str(last)).replace("Number: 4", f"Number: {version}")
    if not last and not version:
        return
    first = decided(text, Seen(before, earlier))
    if isinstance(first, HandOver):
        assert isinstance(decided(text, first.seen), LeaveAlone)


def test_what_was_seen_is_kept_only_on_a_good_end(tmp_path: Path) -> None:
    """A hand-over that fails is not remembered; one account does not touch another."""
    with open_seen(tmp_path) as file:
        assert file.of(GUID) is None
        file.remember(GUID, Seen(1, 1))
        file.remember("other", Seen(5, 5))
    with suppress(KeyboardInterrupt), open_seen(tmp_path) as file:
        file.remember(GUID, Seen(2, 2))
        raise KeyboardInterrupt
    with open_seen(tmp_path) as file:
        assert (file.of(GUID), file.of("other")) == (Seen(1, 1), Seen(5, 5))
    (tmp_path / "samba-seen").write_bytes(b"no database" * 100)
    with pytest.raises(SeenUnusable), open_seen(tmp_path):
        pass


# --- the script ------------------------------------------------------------------------------

Run = Callable[..., tuple[int, str, list[SourceChange]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the script on an account, with a gateway that gives a verdict."""
    settings = HookSettings("http://127.0.0.1:9", "pf_key", spool=tmp_path / "spool")
    pushed: list[SourceChange] = []

    def call(verdict: Verdict, text: str = CAROL, *options: str) -> tuple[int, str, list[SourceChange]]:
        def push(self: Gateway, change: SourceChange) -> Answer:
            os.write(2, b"a library has something to say")
            pushed.append(change)
            return Answer(verdict, "A sentence.", "why")

        monkeypatch.setattr(Gateway, "push", push)
        monkeypatch.setattr(samba, "conceal", lambda: None)
        monkeypatch.setattr(samba, "gateway_for", lambda *_: Gateway(settings))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        code = samba.run(list(options))
        out, err = capfd.readouterr()
        return code, out + err, pushed

    return call


@pytest.mark.parametrize(
    "verdict", [verdict for verdict in Verdict if verdict is not Verdict.LOST], ids=lambda each: each.value
)
def test_what_is_settled_is_told_first_and_alone(run: Run, verdict: Verdict) -> None:
    """One line that starts with ``DONE-EXIT: ``; the same account is then left alone."""
    code, said, pushed = run(verdict)
    assert (code, said) == (0, f"DONE-EXIT: {verdict.value}: A sentence.\n")
    code, said, pushed = run(verdict)
    assert (code, said) == (0, "DONE-EXIT: left alone: the password is the same as before\n")
    assert len(pushed) == 1


def test_what_is_lost_is_sent_again(run: Run) -> None:
    """Nothing of the kind is said, nothing is remembered, and the next call makes good."""
    code, said, _ = run(Verdict.LOST)
    assert code == 1
    assert said.startswith("passferry hook samba: A sentence.")
    code, said, pushed = run(Verdict.ACCEPTED)
    assert (code, len(pushed)) == (0, 2)
    assert pushed[0].key == pushed[1].key


@pytest.mark.parametrize("mended", ["attribute", "template"])
def test_after_a_wrong_name_was_mended_everything_is_sent_as_new(
    run: Run, tmp_path: Path, mended: str
) -> None:
    """The gateway takes nothing under a key that it knows with another user.

    Such is any key from before, once the operator named another attribute, or mended the source's template,
    and deleted what was seen.
    """
    text = CAROL.replace("pwdLastSet", "mail: carol@example.com\npwdLastSet")
    run(Verdict.ACCEPTED, text)
    (tmp_path / "spool" / "samba-seen").unlink()
    options = ["--user-attribute", "mail"] if mended == "attribute" else []
    _, said, pushed = run(Verdict.ACCEPTED, text, *options)
    assert said.startswith("DONE-EXIT: accepted")
    assert pushed[0].key != pushed[1].key
    assert len(pushed[1].key) < 255


def test_a_key_is_of_one_user_name() -> None:
    """Also while the file of what was seen stays."""
    text = CAROL.replace("pwdLastSet", "mail: carol@example.com\npwdLastSet")
    changes = [decided(text, attribute=name) for name in ("mail", "userPrincipalName")]
    assert len({change.key("life") for change in changes if isinstance(change, HandOver)}) == 2


def test_a_file_of_an_earlier_release_is_gone_on_with(run: Run, tmp_path: Path) -> None:
    """What it has seen stays seen."""
    (tmp_path / "spool").mkdir(mode=0o700)
    with closing(sqlite3.connect(tmp_path / "spool" / "samba-seen")) as old:
        old.execute("CREATE TABLE seen (guid TEXT PRIMARY KEY, last_set INT, version INT) WITHOUT ROWID")
        old.execute("INSERT INTO seen VALUES (?, ?, ?)", (GUID, SEEN.last_set, SEEN.version))
        old.commit()
    assert run(Verdict.ACCEPTED)[1] == "DONE-EXIT: left alone: the password is the same as before\n"


def test_a_password_that_was_passed_over_is_in_the_log(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the account and the remedy. Samba goes on, and the password arrives when it is sent again."""
    told: list[str] = []
    run(Verdict.ACCEPTED)
    monkeypatch.setattr("syslog.syslog", lambda level, text: told.append(text))
    code, said, _ = run(Verdict.ACCEPTED, HIDDEN.replace("Number: 4", "Number: 5"))
    assert (code, said) == (0, "DONE-EXIT: left alone: there is no clear text of the new password\n")
    assert len(told) == 1
    assert told[0].startswith("samba: 'carol': there is no clear text of the new password: set GNUPGHOME")
    assert run(Verdict.ACCEPTED, CAROL.replace("Number: 4", "Number: 5"))[1].startswith("DONE-EXIT: accepted")


def keys_in(home: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let GnuPG's folder have files of these names."""
    for name in names:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(b"x")
    monkeypatch.setenv("GNUPGHOME", str(home))


@pytest.mark.parametrize("key", ["private-keys-v1.d/AB.key", "secring.gpg"])
def test_one_password_that_nobody_can_read_does_not_stop_the_others(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Any user can set one. Each time it comes it is told, the self-test lists it, and the next ends that."""
    keys_in(tmp_path / "gnupg", monkeypatch, key)
    told: list[tuple[int, str]] = []
    monkeypatch.setattr("syslog.syslog", lambda level, text: told.append((level, text)))
    run(Verdict.ACCEPTED)
    told.clear()
    why = "the new password cannot be decrypted, or is no text"
    for _ in range(2):
        code, said, _ = run(Verdict.ACCEPTED, LOCKED.replace("Number: 4", "Number: 5"))
        assert (code, said) == (0, f"DONE-EXIT: left alone: {why}\n")
    assert [(level, text.partition(why)[0]) for level, text in told] == [
        (syslog.LOG_ERR, "samba: 'carol': ")
    ] * 2
    assert unread_in(tmp_path / "spool") == [("carol", why)]
    (check,) = of_unread(unread_in(tmp_path / "spool"))
    assert (check.grade, f"1 accounts were passed over: 'carol': {why}" in check.what) == (Grade.WARN, True)
    code, said, pushed = run(Verdict.ACCEPTED, CAROL.replace("Number: 4", "Number: 6"))
    assert (said.startswith("DONE-EXIT: accepted"), len(pushed)) == (True, 2)
    assert of_unread(unread_in(tmp_path / "spool")) == []


@pytest.mark.parametrize("names", [(), ("pubring.kbx", "private-keys-v1.d/readme")])
def test_without_any_secret_key_all_wait(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    """No password can be decrypted then: Samba comes again, and nothing is passed over meanwhile."""
    run(Verdict.ACCEPTED)
    keys_in(tmp_path / "gnupg", monkeypatch, *names)
    code, said, _ = run(Verdict.ACCEPTED, LOCKED.replace("Number: 4", "Number: 5"))
    assert (code, "DONE-EXIT" in said, "set GNUPGHOME" in said) == (1, False, True)
    assert unread_in(tmp_path / "spool") == []


def test_what_was_passed_over_is_looked_for_without_making_anything(tmp_path: Path) -> None:
    """By the self-test; a file of an earlier release lists nobody, a broken one is told of."""
    assert unread_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    with closing(sqlite3.connect(tmp_path / "samba-seen")) as old:
        old.execute("CREATE TABLE seen (guid TEXT PRIMARY KEY, last_set INT, version INT) WITHOUT ROWID")
    assert unread_in(tmp_path) == []
    (tmp_path / "samba-seen").write_bytes(b"no database" * 100)
    with pytest.raises(SeenUnusable):
        unread_in(tmp_path)
    (check,) = of_unread([(f"u{number}", "why") for number in range(25)])
    assert "25 accounts" in check.what
    assert check.what.endswith("; and 5 more")


def test_an_upgraded_set_up_goes_on_at_a_password_that_must_be_changed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its `--attributes` have no ``whenChanged``: that is in the log, and Samba goes on."""
    told: list[str] = []
    monkeypatch.setattr("syslog.syslog", lambda level, text: told.append(text))
    old = CAROL.replace("134399980353990140", "0").replace("whenChanged: 20261124121212.0Z\n", "")
    code, said, pushed = run(Verdict.ACCEPTED, old)
    assert (code, said) == (0, "DONE-EXIT: accepted: A sentence.\n")
    assert [change.changed_at for change in pushed] == [None]
    assert told[0].startswith("samba: 'carol@ex.test': it is taken for as new as this call: ")


def test_what_was_cut_off_is_sent_again(run: Run) -> None:
    """Half an object is no object."""
    code, said, pushed = run(Verdict.ACCEPTED, CAROL[:-8])
    assert (code, pushed) == (1, [])
    assert "cut off" in said
    assert "DONE-EXIT" not in said


# --- the self-test ---------------------------------------------------------------------------

CACHE = b"decryptSambaGPG syncCommand objectGUID sAMAccountName userAccountControl pwdLastSet "
CACHE += b"msDS-KeyVersionNumber whenChanged virtualSambaGPG"
GOOD = Dc("active directory domain controller", "KEY", False, True, CACHE + b" virtualClearTextUTF8 mail")


@pytest.mark.parametrize(
    ("dc", "says"),
    [
        (GOOD, ""),
        (Dc("standalone server", "", False, False, b""), "no Samba AD domain controller"),
        (Dc(GOOD.role, "KEY", False, False, GOOD.cache), "no key there that can encrypt"),
        (Dc(GOOD.role, "", True, True, GOOD.cache), ""),
        (Dc(GOOD.role, "", False, True, GOOD.cache), "no password is kept in clear"),
        (Dc(GOOD.role, "KEY", False, True, b""), "never initialized"),
        (Dc(GOOD.role, "KEY", False, True, CACHE + b" mail"), "without virtualClearTextUTF8"),
        (
            Dc(GOOD.role, "KEY", False, True, GOOD.cache.replace(b"decryptSambaGPG", b"")),
            "--decrypt-samba-gpg",
        ),
        (Dc(GOOD.role, "KEY", False, True, GOOD.cache.replace(b"syncCommand", b"")), "--script"),
        (Dc(GOOD.role, "KEY", False, True, GOOD.cache.replace(b"whenChanged", b"")), "without whenChanged"),
        (Dc(GOOD.role, "KEY", False, True, GOOD.cache.replace(b"virtualSambaGPG", b"")), "virtualSambaGPG"),
    ],
)
def test_the_self_test_says_what_samba_lacks(dc: Dc, says: str) -> None:
    """In the words of smb.conf and samba-tool."""
    failed = [check.what for check in judge(dc, "mail") if check.grade is not Grade.OK]
    assert (says in " ".join(failed)) if says else failed == []
