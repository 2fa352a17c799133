"""``hook openldap``: what the desk between slapd and the gateway says, holds, hands over and loses."""

import base64
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hook_fakes import PUBLIC
from hook_fakes import FakeGateway as Listening
from passferry.domain.password import Password
from passferry.hooks import held, openldap_desk
from passferry.hooks.gateway import Gateway, SourceChange
from passferry.hooks.held import Pending, Ticket
from passferry.hooks.ldap_bind import Bound
from passferry.hooks.openldap_desk import Desk
from passferry.hooks.public_key import PublicKey
from passferry.hooks.settings import HookSettings
from passferry.hooks.slapd_sock import Key
from passferry.hooks.verdicts import Answer, Verdict

SUFFIX = "dc=example,dc=org"
TEN = datetime(2026, 11, 18, 10, tzinfo=UTC).timestamp()
ALICE = f"uid=alice,{SUFFIX}"


class FakeGateway(Gateway):
    """Records; its verdicts are given."""

    def __init__(self, spool: Path) -> None:
        super().__init__(HookSettings("http://127.0.0.1:9", "pf_key", spool=spool, seconds=0.1))
        self.checked: list[str] = []
        self.pushed: list[tuple[str, str]] = []
        self.verdict = Answer(Verdict.ACCEPTED, "")
        self.pushes = [Answer(Verdict.ACCEPTED, "")]

    def check(self, user: str, password: Password) -> Answer:
        self.checked.append(user)
        return self.verdict

    def push(self, change: SourceChange, *, patient: bool = False) -> Answer:
        self.pushed.append((change.user, change.password.reveal()))
        return self.pushes.pop(0) if len(self.pushes) > 1 else self.pushes[0]


class Scene:
    """A desk with fakes around it."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = tmp_path
        self.gateway = FakeGateway(tmp_path / "spool")
        self.desk = Desk(self.gateway, tmp_path / "ldapi", "uid")
        self.slapd = {"alice": "New-Passw0rd-1"}
        self.away: set[str] = set()  # users whom slapd cannot be asked about
        self.asked: list[str] = []
        monkeypatch.setattr(openldap_desk, "reachable", lambda path: True)
        monkeypatch.setattr(openldap_desk, "AGAIN_SECONDS", 0.01)
        monkeypatch.setattr(openldap_desk, "bound", self.bound)

    def bound(self, path: Path, dn: str, password: bytes) -> tuple[Bound, str]:
        uid = dn.partition("=")[2].partition(",")[0]
        self.asked.append(uid)
        if uid in self.away:
            return Bound.AWAY, "Connection refused"
        return (Bound.YES if self.slapd.get(uid) == password.decode() else Bound.NO), ""

    def modify(self, password: str = "New-Passw0rd-1", number: int = 2, uid: str = "alice") -> bytes:
        head = f"MODIFY\nmsgid: {number}\nconnid: 1000\ndn: uid={uid},dc=example,dc=org\n"
        value = base64.b64encode(password.encode()).decode()
        block = f"{head}replace: userPassword\nuserPassword:: {value}\n-\n\n"
        return self.desk.answer(block.encode(), 7)

    def result(self, code: int = 0, number: int = 2, pid: int = 7) -> None:
        block = f"RESULT\nmsgid: {number}\nconnid: 1000\ncode: {code}\n\n"
        assert self.desk.answer(block.encode(), pid) == b""

    def work(self) -> list[tuple[str, str]]:
        """What was pushed, once all is done."""
        stopped = threading.Event()
        stopped.set()
        self.desk.work(stopped)
        return self.gateway.pushed


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A desk."""
    return Scene(tmp_path, monkeypatch)


def test_a_change_goes_to_the_gateway_after_it_was_made(scene: Scene) -> None:
    """Not at the verdict, but after the result, and once."""
    assert scene.modify() == b"CONTINUE\n"
    assert scene.work() == []
    scene.result()
    scene.result()
    assert scene.work() == [("alice", "New-Passw0rd-1")]


@pytest.mark.parametrize("case", ["failed", "another operation", "another slapd", "not its password"])
def test_a_change_that_was_not_made_does_not(scene: Scene, case: str) -> None:
    """Another code, number or process; and a success that slapd does not mean for this password."""
    scene.modify()
    if case == "not its password":
        scene.slapd["alice"] = "Old-Passw0rd-1"
    scene.result(
        code=19 if case == "failed" else 0,
        number=3 if case == "another operation" else 2,
        pid=8 if case == "another slapd" else 7,
    )
    assert scene.work() == []


def test_a_failure_of_something_else_under_its_number_does_not_hide_a_change(scene: Scene) -> None:
    """A client may use one number twice: the success that follows may be the change's, so slapd is asked."""
    scene.modify()
    scene.result(code=32)
    assert len(scene.desk.held) == 0  # at its end the hook does not wait for it
    scene.result()
    assert scene.work() == [("alice", "New-Passw0rd-1")]


def test_a_change_that_failed_is_forgotten_and_slapd_not_asked(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question would be one failed login of its user. When its time is over the password is wiped."""
    clock = [0.0]
    desk = scene.desk = Desk(scene.gateway, scene.folder / "ldapi", "uid", lambda: clock[0])
    scene.modify()
    (pending,) = desk.held._held.values()
    scene.result(code=19)
    clock[0] = held.SECONDS
    assert scene.work() == []
    assert scene.asked == []
    assert not any(pending.secret)
    monkeypatch.setattr(held, "MOST", 1)
    for _ in range(2):  # nor does it take the place of others
        assert scene.modify() == b"CONTINUE\n"
        scene.result(code=19)


def test_the_verdict_is_the_gateways(scene: Scene) -> None:
    """Its sentence is what the client reads, and nothing is held."""
    scene.gateway.verdict = Answer(Verdict.REFUSED, "Too short.")
    assert scene.modify() == b"RESULT\ncode: 19\nmatched: \ninfo: Too short.\n"
    scene.result()
    assert scene.work() == []


def test_the_internal_write_of_a_hash_does_not_disturb_what_is_held(scene: Scene) -> None:
    """After an extended operation slapd writes the hash under the same number."""
    scene.modify()
    assert scene.modify("{SSHA}87adB+WVzJtTBt6quNDI1nSX+fsTgNqP") == b"CONTINUE\n"
    scene.result()
    assert scene.work() == [("alice", "New-Passw0rd-1")]


def test_what_cannot_be_read_is_refused_only_where_it_may_be_a_password(scene: Scene) -> None:
    """A directory's other work does not depend on this hook's reader."""
    assert scene.desk.answer(b"MODIFY\nmsgid: 1\n?\n\n", 7) == b"CONTINUE\n"
    assert scene.desk.answer(b"MODIFY\nmsgid: 1\n?: userPassword\n\n", 7).startswith(b"RESULT\ncode: 80\n")
    assert scene.desk.answer(b"SEARCH\nmsgid: 1\n\n", 7) == b"CONTINUE\n"


def test_an_overlay_without_connid_is_told_what_it_lacks(scene: Scene) -> None:
    """Nothing could be held under a number alone."""
    block = b"MODIFY\nmsgid: 2\ndn: uid=a,dc=o\nreplace: userPassword\nuserPassword: New-1\n-\n\n"
    assert b"code: 80" in scene.desk.answer(block, 7)


def test_without_a_way_to_ask_slapd_nothing_is_let_through(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that could not be confirmed afterwards is refused before."""
    monkeypatch.setattr(openldap_desk, "reachable", lambda path: False)
    assert b"code: 52" in scene.modify()


def test_at_its_end_it_takes_no_more_and_finishes_what_it_has(scene: Scene) -> None:
    """New ones are told to come again; what was let through is handed over."""
    scene.modify()
    scene.desk.closing.set()
    assert b"code: 51" in scene.modify(number=3)
    scene.result()
    assert scene.work() == [("alice", "New-Passw0rd-1")]


def test_what_is_lost_is_tried_again_in_its_order(scene: Scene) -> None:
    """While the spool cannot be written either, the next change waits."""
    scene.slapd["bob"] = "New-Passw0rd-1"
    scene.gateway.pushes = [Answer(Verdict.LOST, ""), Answer(Verdict.LOST, ""), Answer(Verdict.ACCEPTED, "")]
    for number, uid in ((2, "alice"), (3, "bob")):
        scene.modify(number=number, uid=uid)
        scene.result(number=number)
    stopped = threading.Event()
    hands = threading.Thread(target=scene.desk.work, args=(stopped,))
    hands.start()
    while not scene.gateway.pushed or scene.gateway.pushed[-1][0] != "bob":
        assert not stopped.wait(0.005)
    stopped.set()
    hands.join(10)
    assert [user for user, _ in scene.gateway.pushed] == ["alice", "alice", "alice", "bob"]


def worked(scene: Scene, done: Callable[[], bool]) -> None:
    """Work until ``done``, then stop."""
    stopped = threading.Event()
    hands = threading.Thread(target=scene.desk.work, args=(stopped,))
    hands.start()
    for _ in range(2000):
        if done() or not hands.is_alive():
            break
        stopped.wait(0.005)
    stopped.set()
    hands.join(10)
    assert done()


def test_a_change_is_kept_until_slapd_can_be_asked_about_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes; others go before it, what is spooled is handed over, and it is told once."""
    told: list[str] = []
    monkeypatch.setattr("syslog.syslog", lambda level, text: told.append(text))
    idle: list[int] = []
    monkeypatch.setattr(scene.desk, "_idle", lambda: idle.append(1))
    scene.away, scene.slapd["bob"] = {"alice"}, "New-Passw0rd-1"
    for number, uid in ((2, "alice"), (3, "bob")):
        scene.modify(number=number, uid=uid)
        scene.result(number=number)

    def back() -> bool:
        if scene.asked.count("alice") > 2 * openldap_desk.TRIES and idle:
            scene.away.clear()
        return len(scene.gateway.pushed) == 2

    worked(scene, back)
    assert scene.gateway.pushed == [("bob", "New-Passw0rd-1"), ("alice", "New-Passw0rd-1")]
    assert [text for text in told if "it is asked again" in text] == [
        f"openldap: slapd was asked about {ALICE!a}: Connection refused; it is asked again"
    ]
    assert scene.desk.left() == 0


def test_what_slapd_could_not_be_asked_about_is_lost_at_the_end_and_said_so(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once more it is asked, then the log names it, the exit code counts it, and the password is wiped."""
    told: list[str] = []
    monkeypatch.setattr("syslog.syslog", lambda level, text: told.append(text))
    scene.away = {"alice"}
    scene.modify()
    (pending,) = scene.desk.held._held.values()
    scene.result()
    worked(scene, lambda: len(scene.asked) > 3)
    assert scene.gateway.pushed == []
    assert told[-1] == f"openldap: not handed over: {ALICE!a}: slapd: Connection refused"
    assert scene.desk.left() == 1
    assert not any(pending.secret)


@pytest.mark.parametrize("reported", [True, False])
@pytest.mark.parametrize("spooled", [True, False])
def test_a_change_that_waited_is_as_old_as_it_is(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, reported: bool, spooled: bool
) -> None:
    """One of 10:00 that is handed over at 12:00 does not win over one that was made elsewhere at 11:00.

    What counts is when slapd reported it, or else when it was about to write it.
    """
    clock = [0.0]
    monkeypatch.setattr(held, "SECONDS", 3600.0)
    with Listening() as listening:
        gateway = Gateway(listening.settings(scene.folder), lambda: TEN + clock[0], lambda: clock[0])
        gateway.spool.check()
        gateway.public_key.keep(PublicKey(PUBLIC))
        desk = scene.desk = Desk(gateway, scene.folder / "ldapi", "uid", lambda: clock[0])
        scene.modify()
        clock[0] += 60
        if reported:
            scene.result()
        clock[0] += 7200
        desk._take_up_unreported()
        if spooled:
            listening.go()
        scene.work()
        if spooled:
            listening.come()
            gateway.flush(10)
        (taken,) = listening.taken
    assert taken.sealed is spooled
    assert taken.changed_at == ("2026-11-18T10:01:00.000000Z" if reported else "2026-11-18T10:00:00.000000Z")


@pytest.mark.parametrize("made", [True, False])
def test_slapd_is_asked_about_a_change_that_it_never_reported(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    """It may have been made all the same: then it is handed over; else not."""
    if not made:
        scene.slapd["alice"] = "Old-Passw0rd-1"
    told: list[str] = []
    monkeypatch.setattr("syslog.syslog", lambda level, text: told.append(text))
    scene.modify()
    monkeypatch.setattr(held, "SECONDS", 0.0)
    scene.modify(number=3, uid="bob")
    scene.desk.held._held[Ticket(7, Key(1000, 2))].until = 0.0
    worked(scene, lambda: any("does not take it for 'uid=bob" in text for text in told))
    assert scene.gateway.pushed == ([("alice", "New-Passw0rd-1")] if made else [])
    assert f"openldap: slapd reported nothing about {ALICE!a}: it is asked" in told


def test_a_defect_does_not_end_the_hand_over(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the log by its kind alone, since its text could hold a password, and it is tried again."""
    told: list[str] = []
    monkeypatch.setattr("syslog.syslog", lambda level, text: told.append(text))
    push, failures = scene.gateway.push, [RuntimeError("New-Passw0rd-1"), KeyError("New-Passw0rd-1")]

    def fails(change: SourceChange, *, patient: bool = False) -> Answer:
        if failures:
            raise failures.pop()
        return push(change)

    monkeypatch.setattr(scene.gateway, "push", fails)
    scene.modify()
    scene.result()
    worked(scene, lambda: scene.gateway.pushed == [("alice", "New-Passw0rd-1")])
    assert [text for text in told if "defect" in text] == [
        "openldap: a defect: KeyError; it is tried again",
        "openldap: a defect: RuntimeError; it is tried again",
    ]
    assert "Passw0rd" not in "".join(told)
    assert scene.desk.left() == 0


@pytest.mark.parametrize("defect", [True, False])
def test_what_is_lost_at_the_end_counts_as_left(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, defect: bool
) -> None:
    """The hook does not end as if all were well."""
    scene.gateway.pushes = [] if defect else [Answer(Verdict.LOST, "")]
    scene.modify()
    scene.result()
    assert scene.desk.left() == 1
    scene.work()
    assert scene.desk.left() == 1


def test_an_idle_hook_keeps_the_public_key_fresh(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while nothing is spooled; and a gateway that does not answer is not asked all the time."""
    asked: list[float] = []
    monkeypatch.setattr(scene.gateway, "refresh_key", asked.append)
    monkeypatch.setattr(openldap_desk, "FLUSH_SECONDS", 0.05)
    worked(scene, lambda: len(asked) >= 3)
    asked.clear()
    monkeypatch.setattr(openldap_desk, "FLUSH_SECONDS", 100.0)
    for _ in range(10):
        scene.desk._idle()
    assert asked == []


@contextmanager
def black_hole() -> Iterator[str]:
    """The address of somebody who takes every connection, and never says anything."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_gateway_that_never_answers_does_not_hold_confirmed_changes_in_memory(scene: Scene) -> None:
    """The first one waits for it; the others are sealed to disk at once, in their order."""
    with black_hole() as url:
        gateway = Gateway(HookSettings(url, "pf_key", spool=scene.folder / "spool", seconds=1.0))
        gateway.spool.check()
        gateway.public_key.keep(PublicKey(PUBLIC))
        desk = scene.desk = Desk(gateway, scene.folder / "ldapi", "uid")
        for number in range(20):
            password = f"New-Passw0rd-{number}"
            scene.slapd[f"u{number}"] = password
            pending = Pending(f"uid=u{number},{SUFFIX}", f"u{number}", bytearray(password, "ascii"))
            desk.held.keep(Ticket(7, Key(1000, number)), pending, time.monotonic())
            scene.result(number=number)
        started = time.monotonic()
        worked(scene, lambda: len(gateway.spool.waiting()) == 20 and desk.left() == 0)
        assert time.monotonic() - started < 5
    with Listening() as back:
        later = Gateway(back.settings(scene.folder))
        assert later.flush(10).accepted == 20
        assert [each.user for each in back.taken] == [f"u{number}" for number in range(20)]
