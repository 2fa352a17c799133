"""The settings, checked and frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from passferry.config.values import Network
from passferry.domain.policy import Rules
from passferry.domain.source_rules import SourceTables

LEFT_OUT = (
    "configure the org again, with dry_run = true if nothing shall be sent; or cancel each of its changes:"
    " `passferry changes list --state pending,parked --org {org}`, then `passferry changes cancel ID`"
)
"""What can be done about changes whose org is ``left_out``, with its name to be filled in."""

LISTEN = ("127.0.0.1", 8080)
"""Where ``serve`` listens unless told otherwise."""


class Secret:
    """A credential of ours. Only ``reveal`` gives the text; a test lists the modules that may call it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text. Call it only where it leaves for whom it is meant."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a secret is never pickled or copied")


@dataclass(frozen=True, slots=True)
class OrgSettings:
    """One org: where its target is, how a password is written there, how fast.

    ``target`` is ``genesys`` (then ``api_url``, ``login_url``, ``client_id`` and ``client_secret`` are there)
    or ``scim``, a plain RFC 7644 service provider (then ``base_url`` and ``token`` are). ``write`` is
    ``scim-put``, ``scim-patch`` or ``native``. ``rate`` is requests a minute to start from; ``time_to_live``
    and ``request_timeout`` are seconds. Addresses have no trailing slash. With ``dry_run`` everything is done
    but the writes. ``scim`` is what inbound SCIM does: ``passwords``, or ``proxy`` for everything else.
    ``never`` are users whose password nobody may change through us, folded.
    """

    name: str
    target: str = "genesys"
    write: str = "scim-put"
    api_url: str | None = None
    login_url: str | None = None
    client_id: str | None = None
    client_secret: Secret | None = None
    base_url: str | None = None
    token: Secret | None = None
    rate: float = 300.0
    time_to_live: float = 72 * 3600.0
    request_timeout: float = 10.0
    dry_run: bool = False
    scim: str = "passwords"
    never: frozenset[str] = frozenset()
    policy: Rules = field(default_factory=Rules)

    @property
    def identity(self) -> tuple[str, object]:
        """Two orgs of equal identity are the same one, configured twice."""
        if self.target == "genesys":
            return urlsplit(self.api_url or "").netloc, self.client_id
        return self.base_url or "", self.token.reveal() if self.token else None


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: our certificate with its chain, its key, and who may sign certificates of clients."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    def paths(self) -> tuple[Path, ...]:
        """All that are given."""
        return (self.cert, self.key) if self.client_ca is None else (self.cert, self.key, self.client_ca)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is configured.

    ``database_url`` None means SQLite in ``state_dir``. ``listen`` is host and port, ``behind_proxy`` who may
    bring requests there over plain HTTP, in a proxy's name. ``wait_seconds`` is the
    longest and the default time for which a caller waits. ``source_rate`` is changes a second that one source
    may send, ``queue_limit`` the live changes that an org may have. ``log_format`` is ``auto`` (for people on
    a terminal, else JSON), ``json`` or ``console``. ``sources`` are the rules of sources, by
    the names of their access keys in any spelling.
    """

    state_dir: Path
    key_file: Path
    database_url: str | None = field(default=None, repr=False)  # may hold a password
    listen: tuple[str, int] = LISTEN
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    behind_proxy: tuple[Network, ...] = ()
    verifier: bool = True
    wait_seconds: float = 15.0
    source_rate: float = 600.0
    queue_limit: int = 1_000_000
    log_format: str = "auto"
    orgs: Mapping[str, OrgSettings] = field(default_factory=dict)
    sources: SourceTables = field(default_factory=SourceTables)

    @property
    def proxies(self) -> frozenset[str]:
        """The orgs whose inbound SCIM passes everything on. In a dry run nothing is written at the target."""
        return frozenset(name for name, org in self.orgs.items() if org.scim == "proxy" and not org.dry_run)

    def left_out(self, live: Mapping[str, int]) -> dict[str, int]:
        """Of ``live``, changes by org, what no owner looks after: its org is not configured any more."""
        return {org: changes for org, changes in sorted(live.items()) if changes and org not in self.orgs}

    @property
    def tls(self) -> TlsFiles | None:
        """The files of our certificate; None where plain HTTP is served."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return TlsFiles(self.tls_cert, self.tls_key, self.tls_client_ca)

    def describe(self) -> dict[str, Any]:
        """What may be logged: every setting, secrets masked, in JSON's types."""
        described = {
            part.name: _plain(getattr(self, part.name)) for part in fields(self) if part.name not in _TABLES
        }
        if self.database_url is not None:
            described["database_url"] = urlsplit(self.database_url).scheme + "://***"
        described["listen"] = f"{self.listen[0]}:{self.listen[1]}"
        for kind in _TABLES:
            described[kind] = {
                name: {part.name: _plain(getattr(one, part.name)) for part in fields(one)}
                for name, one in getattr(self, kind).items()
            }
        return described


_TABLES = ("orgs", "sources")


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return "***"
    if isinstance(value, Rules):
        return {part.name: getattr(value, part.name) for part in fields(value)}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [str(part) for part in value]
    return str(value) if isinstance(value, Path) else value
