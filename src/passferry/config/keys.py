"""Every key there is: its name, how it is read, whether it is a secret. A test checks that the docs agree."""

from dataclasses import dataclass, fields

from passferry.config import values
from passferry.config.regions import domain_of_region, domain_of_subdomain
from passferry.config.values import Reader
from passferry.domain.policy import Rules
from passferry.domain.source_rules import spelling


@dataclass(frozen=True, slots=True)
class Key:
    """One key. ``name`` is its path within the file or within an org's table, with dots.

    A secret may also be given as ``<name>_file``, the path of a file that holds it.
    """

    name: str
    read: Reader
    secret: bool = False


_DAY = 86_400.0

GENERAL = (
    Key("state_dir", values.text),
    Key("database_url", values.database, secret=True),
    Key("key_file", values.text),
    Key("listen", values.listen),
    Key("tls_cert", values.text),
    Key("tls_key", values.text),
    Key("tls_client_ca", values.text),
    Key("behind_proxy", values.networks),
    Key("verifier", values.switch),
    Key("wait_seconds", values.number(0, 15, "seconds")),
    Key("source_rate", values.number(0.01, 1_000_000, "changes a second")),
    Key("queue_limit", values.whole(1, 100_000_000, "a number of changes")),
    Key("log_format", values.choice("auto", "json", "console")),
)


def _policy_key(name: str) -> Key:
    if name == "ascii_only":
        return Key(f"policy.{name}", values.switch)
    if name == "minimum_age_seconds":
        return Key(f"policy.{name}", values.whole(0, 366 * int(_DAY), "seconds"))
    return Key(f"policy.{name}", values.whole(0, 1024, "a number of characters"))


ORG = (
    Key("target", values.choice("genesys", "scim")),
    Key("write", values.choice("scim-put", "scim-patch", "native")),
    Key("region", domain_of_region),
    Key("subdomain", domain_of_subdomain),
    Key("api_url", values.origin),
    Key("login_url", values.origin),
    Key("client_id", values.text),
    Key("client_secret", values.text, secret=True),
    Key("base_url", values.base),
    Key("token", values.text, secret=True),
    Key("rate", values.number(0.1, 1_000_000, "requests a minute")),
    Key("time_to_live", values.duration(60, 30 * _DAY)),
    Key("request_timeout", values.duration(0.1, 120)),
    Key("dry_run", values.switch),
    Key("scim", values.choice("passwords", "proxy")),
    Key("never", values.users),
    *(_policy_key(part.name) for part in fields(Rules)),
)

SOURCE = (
    Key("user", values.template),
    Key("orgs", values.words),
    Key("rate", values.number(0.01, 1_000_000, "changes a second")),
    Key("never", values.users),
    Key("most_an_hour", values.whole(1, 100_000_000, "a number of changes")),
    Key("generated", values.switch),
    Key("believe_clock", values.switch),
    Key("clock_ahead", values.duration(0, 3600)),
    Key("bulk", values.switch),
    Key("scim", values.choice("none", "passwords", "proxy")),
)

GENESYS_VARIABLES = {
    "client_id": ("GENESYS_CLIENT_ID", "GENESYSCLOUD_OAUTHCLIENT_ID"),
    "client_secret": ("GENESYS_CLIENT_SECRET", "GENESYSCLOUD_OAUTHCLIENT_SECRET"),
    "region": ("GENESYS_REGION", "GENESYSCLOUD_REGION"),
    "subdomain": ("GENESYS_SUBDOMAIN",),
    "api_url": ("GENESYS_API_URL",),
    "login_url": ("GENESYS_LOGIN_URL",),
    "write": ("GENESYS_WRITE",),
    "rate": ("GENESYS_RATE",),
    "dry_run": ("GENESYS_DRY_RUN",),
}
"""Variables that set keys of the org ``default``; first names are ours, others those of Genesys's tools."""

OTHER_VARIABLES = frozenset({"CONFIG", "URL", "API_KEY", "API_KEY_FILE"})
"""What follows ``PASSFERRY_`` in variables that are read elsewhere."""


def variable(path: str) -> str:
    """The environment variable of a key: ``orgs.default.rate`` is ``PASSFERRY_ORGS_DEFAULT_RATE``."""
    return "PASSFERRY_" + spelling(path)


def source_table(name: str) -> str:
    """The heading of a source's table in the file; a name with dots would otherwise be read as several."""
    return f'[sources."{name}"]' if "." in name else f"[sources.{name}]"
