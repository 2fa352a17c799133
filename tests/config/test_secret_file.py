"""A secret whose file is replaced while we run."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from passferry.config import FileSecret, Secret, load
from passferry.config.settings import OrgSettings


def _org(folder: Path, text: str = "first-secret\n") -> tuple[OrgSettings, Path]:
    file = folder / "secret"
    file.write_text(text)
    env = {
        "HOME": str(folder),
        "GENESYS_CLIENT_ID": "id",
        "GENESYS_REGION": "us-east-1",
        "GENESYS_CLIENT_SECRET_FILE": str(file),
    }
    return load(env).orgs["default"], file


def _secret(org: OrgSettings) -> FileSecret:
    assert isinstance(org.client_secret, FileSecret)
    return org.client_secret


def test_what_stands_in_the_file_now_is_shown(tmp_path: Path) -> None:
    """Written in place, or by another file that takes its name, as mounted secrets are."""
    org, file = _org(tmp_path)
    secret = _secret(org)
    assert secret.reveal() == "first-secret"
    file.write_text("second-secret")
    assert secret.reveal() == "second-secret"
    (tmp_path / "new").write_text("third--secret\r\n")
    (tmp_path / "new").replace(file)
    assert secret.changed()
    assert (secret.reveal(), secret.changed()) == ("third--secret", False)


def test_what_changed_between_the_start_and_the_first_use_is_seen(tmp_path: Path) -> None:
    """The file is looked at before the first use, not trusted to be the one that was read at start."""
    org, file = _org(tmp_path)
    file.write_text("other-secret\n")
    assert _secret(org).reveal() == "other-secret"


@pytest.mark.parametrize("broken", ["gone", "empty", "folder", "control", "binary"])
def test_a_file_that_cannot_be_used_keeps_the_last_secret(tmp_path: Path, broken: str) -> None:
    """It is logged once, without a word of any secret, and the next good file is taken."""
    org, file = _org(tmp_path)
    secret = _secret(org)
    secret.reveal()
    if broken in ("gone", "folder"):
        file.unlink()
    if broken == "folder":
        file.mkdir()
    texts = {"empty": b" \n", "control": b"half\0written", "binary": b"\xff\xfehalf"}
    if broken in texts:
        file.write_bytes(texts[broken])
    with capture_logs() as logs:
        assert [secret.reveal() for _ in range(3)] == ["first-secret"] * 3
    assert [entry["event"] for entry in logs] == ["secret.not.read"]
    assert "GENESYS_CLIENT_SECRET_FILE" in logs[0]["why"]
    assert not {"first-secret", "half"} & set(str(logs).replace("'", " ").split())
    if broken == "folder":
        file.rmdir()
    file.write_text("next-secret")
    assert secret.reveal() == "next-secret"


def test_a_file_that_only_others_may_read_now_keeps_the_last_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissions that were taken away are no reason to stop."""
    org, file = _org(tmp_path)
    secret = _secret(org)
    secret.reveal()
    file.write_text("second-secret")

    def denied(*args: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with capture_logs() as logs:
        assert secret.reveal() == "first-secret"
    assert "Permission denied" in logs[0]["why"]


def test_a_secret_that_is_given_as_text_stays(tmp_path: Path) -> None:
    """Nothing is watched where no file was named, and neither kind shows itself."""
    org, _ = _org(tmp_path)
    env = {"HOME": "/", "GENESYS_CLIENT_ID": "i", "GENESYS_REGION": "us-east-1", "GENESYS_CLIENT_SECRET": "x"}
    plain = load(env)
    assert type(plain.orgs["default"].client_secret) is Secret
    assert f"{org.client_secret} {org.client_secret!r}" == "Secret(***) Secret(***)"
