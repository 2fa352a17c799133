"""How serve may be reached: TLS, proxies, and mistakes in them, all said at once."""

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from certificates import Authority
from passferry.config import ConfigError, Settings, load

ORG = {
    "HOME": "/home/nobody",
    "GENESYS_CLIENT_ID": "c",
    "GENESYS_CLIENT_SECRET": "made-up",
    "GENESYS_REGION": "us-east-1",
}


def served(env: dict[str, str], **options: Any) -> Settings:
    """The settings of a ``serve``."""
    return load(ORG | env, serves=options)


def problems(env: dict[str, str], **options: Any) -> list[str]:
    """What is wrong with them."""
    with pytest.raises(ConfigError) as caught:
        served(env, **options)
    assert all(each.hint for each in caught.value.problems)
    return [each.what for each in caught.value.problems]


def tls(cert: Path, key: Path, **more: Path) -> dict[str, str]:
    """The environment that names these files."""
    names = {"CERT": cert, "KEY": key, **more}
    return {f"PASSFERRY_TLS_{name}": str(path) for name, path in names.items()}


def test_beyond_loopback_needs_tls_or_a_proxy(tmp_path: Path) -> None:
    """Plain HTTP stays on this machine; a certificate or a proxy in front opens the way."""
    wide = {"PASSFERRY_LISTEN": "0.0.0.0:8080"}
    (what,) = problems(wide)
    assert "0.0.0.0 is not a loopback address" in what
    assert served(wide | tls(*Authority(tmp_path).issue("one"))).tls is not None
    assert served(wide | {"PASSFERRY_BEHIND_PROXY": "10.0.0.7,192.0.2.0/24"}).behind_proxy == (
        ip_network("10.0.0.7/32"),
        ip_network("192.0.2.0/24"),
    )


def test_every_mistake_is_said_at_once() -> None:
    """Where it listens along with all others: a region, a number, an org."""
    wrong = {
        "PASSFERRY_LISTEN": "0.0.0.0:80",
        "GENESYS_REGION": "atlantis-1",
        "PASSFERRY_QUEUE_LIMIT": "many",
    }
    said = "\n".join(problems(wrong))
    for part in ("0.0.0.0", "GENESYS_REGION", "PASSFERRY_QUEUE_LIMIT"):
        assert part in said


def test_options_come_before_settings_and_are_named_in_mistakes() -> None:
    """--listen, --host and --port as before, --behind-proxy and the files of TLS as well."""
    env = {"PASSFERRY_LISTEN": "0.0.0.0:8080", "PASSFERRY_BEHIND_PROXY": "10.0.0.7"}
    assert served(env, listen="127.0.0.1:1", behind_proxy=["10.0.0.0/8"]).behind_proxy == (
        ip_network("10.0.0.0/8"),
    )
    assert served({"PASSFERRY_LISTEN": "0.0.0.0:8080"}, host="127.0.0.1", port=2).listen == ("127.0.0.1", 2)
    said = problems({}, listen="nowhere", behind_proxy=["elsewhere"], tls_key="/none")
    assert [what.split()[0] for what in said] == ["--listen", "--behind-proxy", "--tls-key", "--tls-key"]


def test_who_does_not_serve_is_not_asked(tmp_path: Path) -> None:
    """Commands beside a serve whose options they do not know, and workers, take its settings as they are."""
    assert load(ORG | {"PASSFERRY_LISTEN": "0.0.0.0:8080"}).listen == ("0.0.0.0", 8080)
    assert load(ORG | tls(tmp_path / "none", tmp_path / "none")).tls is not None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("10.0.0.1/8", "bits of a host"),
        ("fd00::1/8", "bits of a host"),
        ("proxy", "no network"),
        ("0.0.0.0/0", "every"),
        ("::/0", "every"),
    ],
)
def test_a_proxy_is_an_address_or_a_network_and_not_everybody(given: str, said: str) -> None:
    """Whoever is listed is believed."""
    (what,) = problems({"PASSFERRY_BEHIND_PROXY": given})
    assert said in what


def test_an_address_with_the_length_of_its_network_is_told_apart() -> None:
    """The hint has both that may have been meant."""
    with pytest.raises(ConfigError) as caught:
        served({}, behind_proxy=["10.0.0.7/24"])
    (problem,) = caught.value.problems
    assert "10.0.0.0/24 for the whole network, or 10.0.0.7 for" in problem.hint


def test_networks_are_parted_by_commas_wherever_they_are_given() -> None:
    """In the environment as in each use of the option."""
    expected = (ip_network("10.0.0.7"), ip_network("10.0.0.8"), ip_network("192.0.2.0/24"))
    assert served({"PASSFERRY_BEHIND_PROXY": "10.0.0.7, 10.0.0.8,192.0.2.0/24"}).behind_proxy == expected
    assert served({}, behind_proxy=["10.0.0.7,10.0.0.8", "192.0.2.0/24"]).behind_proxy == expected


def test_tls_and_a_proxy_in_front_exclude_each_other(tmp_path: Path) -> None:
    """What a peer over TLS says of https would mean nothing."""
    files = tls(*Authority(tmp_path).issue("one"))
    (what,) = problems(files | {"PASSFERRY_BEHIND_PROXY": "10.0.0.7"})
    assert "are both given" in what


def test_a_key_that_the_group_may_read_is_taken(tmp_path: Path) -> None:
    """Certificate managers hand keys over that way."""
    cert, key = Authority(tmp_path).issue("one")
    key.chmod(0o640)
    assert served(tls(cert, key)).tls is not None


def other_key(ca: Authority, cert: Path, key: Path) -> None:
    """The key of another certificate."""
    key.write_bytes(ca.issue("other")[1].read_bytes())


SPOILT: list[tuple[Callable[[Authority, Path, Path], object], str]] = [
    (lambda ca, cert, key: cert.unlink(), "PASSFERRY_TLS_CERT cannot be read"),
    (lambda ca, cert, key: key.unlink(), "PASSFERRY_TLS_KEY cannot be read"),
    (
        lambda ca, cert, key: cert.write_bytes(cert.read_bytes()[:200]),
        "PASSFERRY_TLS_CERT holds no certificate",
    ),
    (lambda ca, cert, key: cert.write_bytes(b""), "PASSFERRY_TLS_CERT holds no certificate"),
    (lambda ca, cert, key: key.write_bytes(key.read_bytes()[:100]), "PASSFERRY_TLS_KEY holds no private key"),
    (lambda ca, cert, key: key.chmod(0o604), "PASSFERRY_TLS_KEY may be used by everybody"),
    (lambda ca, cert, key: ca.issue("one", b"passphrase"), "PASSFERRY_TLS_KEY has a passphrase"),
    (other_key, "PASSFERRY_TLS_KEY is not the key of the certificate"),
    (
        lambda ca, cert, key: ca.cert.write_bytes(cert.read_bytes()),
        "PASSFERRY_TLS_CLIENT_CA holds no certificate of",
    ),
    (lambda ca, cert, key: ca.cert.write_bytes(b"x"), "PASSFERRY_TLS_CLIENT_CA holds no certificate in PEM"),
]


@pytest.mark.parametrize(("spoil", "said"), SPOILT, ids=[said for _, said in SPOILT])
def test_files_that_cannot_be_used_are_mistakes(
    tmp_path: Path, spoil: Callable[[Authority, Path, Path], object], said: str
) -> None:
    """Each is named with what is wrong, and nothing asks a terminal for a passphrase."""
    ca = Authority(tmp_path)
    cert, key = ca.issue("one")
    spoil(ca, cert, key)
    (what,) = problems(tls(cert, key, CLIENT_CA=ca.cert))
    assert said in what


def test_both_files_are_needed(tmp_path: Path) -> None:
    """One alone, or CAs of clients alone, is a mistake; two bad files are two."""
    cert, key = Authority(tmp_path).issue("one")
    assert "without tls_key" in problems({"PASSFERRY_TLS_CERT": str(cert)})[0]
    assert len(problems({"PASSFERRY_TLS_CLIENT_CA": str(cert)})) == 2
    cert.unlink()
    key.write_bytes(b"")
    assert len(problems(tls(cert, key))) == 2
