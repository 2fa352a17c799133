import os
from pathlib import Path

import pytest

from passferry.hooks import settings as module
from passferry.hooks.settings import VARIABLES, HookSettings, SettingsError, load

KEY = "pf_id_secretsecret"
DOC = Path(__file__).resolve().parents[2] / "docs" / "sources" / "hand-over.md"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the settings are; no file of this machine is read."""
    monkeypatch.setattr(module, "DEFAULT_FILE", tmp_path / "none.toml")
    return tmp_path / "hook.toml"


def write(file: Path, text: str, mode: int = 0o600) -> Path:
    """``file`` with that text in its table."""
    file.write_text(f"[hook]\n{text}\n")
    file.chmod(mode)
    return file


def problems(file: Path | None, env: dict[str, str] | None = None) -> list[str]:
    """What is wrong."""
    with pytest.raises(SettingsError) as caught:
        load(file, env or {})
    assert KEY not in str(caught.value)
    return caught.value.problems


def test_a_file_alone_is_enough(file: Path) -> None:
    """Every key of the table is read; what is not given has its default."""
    text = f'''url = "https://gateway.example.com:8443/"\napi_key = "{KEY}"\norg = "emea"
spool = "/srv/spool"
spool_most = 5\nwhen_away = "refuse"\nseconds = 1.5\nca_file = "/etc/ca.pem"'''
    assert load(write(file, text), {}) == HookSettings(
        "https://gateway.example.com:8443",
        KEY,
        "emea",
        Path("/srv/spool"),
        5,
        "refuse",
        1.5,
        Path("/etc/ca.pem"),
    )
    found = load(write(file, f'url = "http://127.0.0.1:8080"\napi_key = "{KEY}"'), {})
    assert (found.when_away, found.seconds, found.spool_most) == ("allow", 2.0, 10_000)
    assert KEY not in repr(found)


def test_variables_take_precedence_and_are_enough(file: Path, tmp_path: Path) -> None:
    """PASSFERRY_URL and PASSFERRY_API_KEY_FILE as for `push`; the rest as PASSFERRY_HOOK_…"""
    secret = tmp_path / "key"
    secret.write_text(KEY + "\n")
    secret.chmod(0o640)
    env = {
        "PASSFERRY_URL": "http://localhost:1",
        "PASSFERRY_API_KEY_FILE": str(secret),
        "PASSFERRY_HOOK_WHEN_AWAY": "refuse",
        "PASSFERRY_HOOK_SECONDS": "3",
    }
    found = load(None, env)
    assert (found.url, found.key, found.when_away, found.seconds) == (
        "http://localhost:1",
        KEY,
        "refuse",
        3.0,
    )
    write(file, f'url = "https://a.example"\napi_key = "{KEY}"')
    assert load(None, {"PASSFERRY_CONFIG": str(file)}).url == "https://a.example"
    assert load(None, env | {"PASSFERRY_CONFIG": str(file)}).url == "http://localhost:1"


def test_no_file_of_the_current_directory_is_read(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever changes a password chooses that directory."""
    write(tmp_path / "passferry.toml", f'url = "https://a.example"\napi_key = "{KEY}"')
    write(tmp_path / "hook.toml", f'url = "https://a.example"\napi_key = "{KEY}"')
    monkeypatch.chdir(tmp_path)
    assert len(problems(None)) == 2


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('url = "http://gateway.example.com"', "url"),
        ('url = "https://user:pw@gateway.example.com"', "url"),
        ('url = "file:///etc/passwd"', "url"),
        ("url = 5", "url"),
        ('org = "../x"', "org"),
        ('spool = "relative"', "spool"),
        ('when_away = "maybe"', "when_away"),
        ("seconds = 0", "seconds"),
        ("seconds = nan", "seconds"),
        ("spool_most = 0", "spool_most"),
        ('colour = "red"', "colour"),
        ('api_key_file = "/nowhere/at/all"', "cannot read"),
    ],
)
def test_a_mistake_is_named(file: Path, text: str, word: str) -> None:
    """Each wrong value is a problem that names its key; all come at once."""
    found = problems(write(file, text))
    assert any(word in problem for problem in found), found


def test_all_mistakes_come_at_once(file: Path) -> None:
    """Two wrong values and two missing ones are four problems."""
    assert len(problems(write(file, 'org = "X"\nseconds = "long"'))) == 4


def test_files_that_others_may_use_are_refused(file: Path, tmp_path: Path) -> None:
    """A key that everybody may read, or settings that others may write, are mistakes."""
    good = f'url = "https://a.example"\napi_key = "{KEY}"'
    assert "others" in problems(write(file, good, 0o660))[0]
    assert "everybody" in problems(write(file, good, 0o644))[0]
    secret = tmp_path / "key"
    secret.write_text(KEY)
    secret.chmod(0o644)
    assert "others" in problems(write(file, f'url = "https://a.example"\napi_key_file = "{secret}"'))[0]
    secret.chmod(0o600)
    write(file, f'url = "https://a.example"\napi_key_file = "{secret}"', 0o644)
    assert load(file, {}).key == KEY


@pytest.mark.parametrize("whose", ["settings", "key"])
def test_files_of_another_user_are_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """A portal's user could else tell root's hook to send every password elsewhere.

    The file may as well be right, and root be wrong here: the portal cannot read one that it no longer owns.
    """
    secret = tmp_path / "key"
    secret.write_text(KEY)
    secret.chmod(0o600)
    write(file, f'url = "https://a.example"\napi_key_file = "{secret}"')
    assert load(file, {}).key == KEY
    theirs, what = {"settings": (file, "the configuration"), "key": (secret, "the access key")}[whose]
    if os.geteuid() == 0:
        os.chown(theirs, 65534, -1)
        expected = 65534
    else:  # then it is we who are another user to the hook
        expected = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: expected + 1)
    found = problems(file)
    remedy = f"run this as that user, or chown root {theirs}"
    assert f"{what} {theirs} belongs to user {expected}, who could change it: {remedy}" in found
    assert load(file, {}, whose_ever=True).key == KEY


@pytest.mark.parametrize("content", [None, b"\xff", b"[hook\n", b"hook = 5\n"])
def test_of_a_file_that_cannot_be_read_nothing_else_is_said(file: Path, content: bytes | None) -> None:
    """What may stand in it is not said to be missing; a wrong variable is told."""
    if content is not None:
        file.write_bytes(content)
        file.chmod(0o600)
    (problem,) = problems(file)
    assert str(file) in problem
    assert len(problems(file, {"PASSFERRY_HOOK_SECONDS": "long"})) == 2


def test_where_the_file_may_not_be_looked_for_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is not open to who runs the hook, or else a name that no folder takes."""
    monkeypatch.setattr(module, "DEFAULT_FILE", tmp_path / ("x" * 300))
    (problem,) = problems(None)
    assert problem.startswith("cannot read the configuration")


@pytest.mark.parametrize("content", ["", "\n"])
def test_a_key_file_without_a_key_is_named(file: Path, tmp_path: Path, content: str) -> None:
    """It is there, and there is nothing in it."""
    secret = tmp_path / "key"
    secret.write_text(content)
    secret.chmod(0o600)
    found = problems(write(file, f'url = "https://a.example"\napi_key_file = "{secret}"'))
    assert found == [f"there is no access key in {secret}: `passferry access add` makes one"]


@pytest.mark.parametrize("content", [b"\xff", b"[hook\n", b"hook = 5\n", b"[hook]\nurl = \n"])
def test_a_file_that_is_none_is_a_mistake(file: Path, content: bytes) -> None:
    """Bytes that are no UTF-8, no TOML, or no table end in problems, not in a traceback."""
    file.write_bytes(content)
    file.chmod(0o600)
    assert problems(file)


def test_every_key_is_in_the_documentation() -> None:
    """Each key and each variable has its place on the page."""
    text = DOC.read_text()
    assert [name for pair in VARIABLES.items() for name in pair if f"`{name}`" not in text] == []
    assert str(module.DEFAULT_FILE) in text
