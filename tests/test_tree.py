"""Cheap claims about the repository itself."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

import passferry

TREE = Path(__file__).resolve().parent.parent
PACKAGE = Path(passferry.__file__).resolve().parent

# Put together here so that this file does not contain what it forbids.
FORBIDDEN = re.compile(
    "|".join(
        [
            r"pypi\." + "org",
            "pythonhosted" + r"\.org",
            r"registry\." + "npmjs",
            r"deb\." + r"debian\.org",
            r"\.\./" + "shared",
            "/work" + "/(?:main|shared|briefs)",
            "/opt" + "/(?:pypi|wheels)",
            r"(?i:\bclau" + r"de\b)",
            r"(?i:\bco-authored" + r"-by\b)",
            r"(?i:\blanguage " + r"model\b)",
        ]
    )
)

# The only modules that may turn a Password or a Secret back into text, each with its reason.
MAY_REVEAL = {
    "accept": "compares a replay with the live change",
    "adapters/hashing.py": "hashes it",
    "adapters/oauth.py": "sends the client secret to the token endpoint",
    "adapters/sealing.py": "seals it",
    "bootstrap": "hands credentials to the adapters that send them",
    "config/secret_file.py": "defines a Secret that stands in a file",
    "config/settings.py": "defines Secret, and compares tokens to find one org configured twice",
    "domain/password.py": "defines it",
    "hooks/gateway.py": "sends it to the gateway",
    "hooks/self_test.py": "sends one that was drawn for the occasion",
    "hand_over.py": "writes it into a letter, which is then sealed",
    "domain/policy.py": "judges it",
    "entrypoints/cli": "sends it to a running gateway",
    "adapters/genesys": "sends it to the target",
    "adapters/scim": "sends it to the target",
}


def tracked_texts() -> list[Path]:
    """Every text file that is (or is about to be) committed; without git, every file below the tree."""
    if (TREE / ".git").exists():
        listing = subprocess.run(
            ["git", "-C", str(TREE), "ls-files", "-z"], capture_output=True, check=True, text=True
        )
        paths = [TREE / name for name in listing.stdout.split("\0") if name]
    else:
        paths = [path for path in TREE.rglob("*") if "__pycache__" not in path.parts]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:1024]]


def test_no_tracked_file_names_a_registry_host_or_the_place_where_it_was_written() -> None:
    """No tracked file holds a registry's host, a path of one machine, or how it was made."""
    found = [
        f"{path.relative_to(TREE)}:{number}: {hit.group()}"
        for path in tracked_texts()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if (hit := FORBIDDEN.search(line))
    ]
    assert found == []


def test_every_relative_link_in_the_docs_leads_to_a_file() -> None:
    """Each relative link of each Markdown file names a file or folder that is there."""
    link = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
    texts = [path for path in tracked_texts() if path.suffix == ".md"]
    assert texts
    dead = [
        f"{path.relative_to(TREE)}: {target}"
        for path in texts
        for target in link.findall(path.read_text())
        if target.startswith(("docs/", "./", "../", "decisions/")) or target.endswith((".md", ".py"))
        if not (path.parent / target).exists() and not is_source(path, target)
    ]
    assert dead == []


def is_source(path: Path, target: str) -> bool:
    """Whether a link leads into the package, which the tests of the installed wheel keep elsewhere."""
    inside = (path.parent / target).resolve()
    source = TREE / "src" / "passferry"
    return inside.is_relative_to(source) and (PACKAGE / inside.relative_to(source)).exists()


def test_only_the_listed_modules_reveal_a_secret() -> None:
    """A call of `.reveal()` stands only in modules that are listed with a reason."""
    callers = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if any(
            isinstance(node, ast.Attribute) and node.attr == "reveal"
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }
    assert (
        sorted(caller for caller in callers if not any(caller.startswith(name) for name in MAY_REVEAL)) == []
    )


@pytest.mark.parametrize("name", ["run.txt", "dev.txt"])
def test_every_locked_dependency_has_a_hash_and_no_address(name: str) -> None:
    """The lock files pin exactly, hash every file, and say nothing of where packages come from."""
    text = (TREE / "requirements" / name).read_text()
    pins = re.findall(r"^\S.*?(?=^\S|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert pins
    assert [pin for pin in pins if "==" not in pin.splitlines()[0] or "--hash=sha256:" not in pin] == []
    assert re.findall(r"https?://|--index-url|--find-links|--trusted-host", text) == []
