"""A patient push: of who lives on, and has others waiting behind it."""

from pathlib import Path

from hook_fakes import PUBLIC, FakeGateway
from passferry.domain.password import Password
from passferry.hooks.gateway import AWAY_SECONDS, Answer, Gateway, SourceChange, Verdict
from passferry.hooks.public_key import PublicKey


def push(gateway: Gateway, key: str) -> Answer:
    """A change of jane's."""
    change = SourceChange("jane", Password("Correct-Horse-9"), None, key)
    return gateway.push(change, patient=True)


def test_a_patient_push_spools_while_nobody_answered_moments_ago(tmp_path: Path) -> None:
    """It tries again after a while, or once a flush was answered."""
    with FakeGateway() as fake:
        runs = [1000.0]
        gateway = Gateway(fake.settings(tmp_path), lambda: 1_795_000_000.0, lambda: runs[0])
        gateway.spool.check()
        gateway.public_key.keep(PublicKey(PUBLIC))
        fake.go()
        assert push(gateway, "k1").verdict is Verdict.SPOOLED
        fake.come()
        answer = push(gateway, "k2")
        assert (answer.verdict, answer.why) == (Verdict.SPOOLED, "the gateway did not answer moments ago")
        assert fake.taken == []
        assert gateway.flush(5).accepted == 2
        assert push(gateway, "k3").verdict is Verdict.ACCEPTED
        fake.go()
        push(gateway, "k4")
        fake.come()
        runs[0] += AWAY_SECONDS
        assert push(gateway, "k5").verdict is Verdict.ACCEPTED
        assert [each.key for each in fake.taken] == ["k1", "k2", "k3", "k4", "k5"]
