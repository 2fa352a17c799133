"""Genesys Cloud's regions and hosts.

Source: the region list of Genesys's own SDKs. The API's host is ``api.<domain>``, that of the login
``login.<domain>``; there is no subdomain of an org.
"""

import difflib
from typing import Any

from passferry.config.problems import Wrong

REGIONS = {
    "us-east-1": "mypurecloud.com",
    "us-east-2": "use2.us-gov-pure.cloud",
    "us-west-2": "usw2.pure.cloud",
    "ca-central-1": "cac1.pure.cloud",
    "sa-east-1": "sae1.pure.cloud",
    "mx-central-1": "mxc1.pure.cloud",
    "eu-west-1": "mypurecloud.ie",
    "eu-west-2": "euw2.pure.cloud",
    "eu-central-1": "mypurecloud.de",
    "eu-central-2": "euc2.pure.cloud",
    "eusc-de-east-1": "edee1.eusc-pure.cloud",
    "me-central-1": "mec1.pure.cloud",
    "ap-south-1": "aps1.pure.cloud",
    "ap-southeast-1": "apse1.pure.cloud",
    "ap-southeast-2": "mypurecloud.com.au",
    "ap-northeast-1": "mypurecloud.jp",
    "ap-northeast-2": "apne2.pure.cloud",
    "ap-northeast-3": "apne3.pure.cloud",
}

_OLD_SUFFIXES = ("", ".pure.cloud", ".mypurecloud.com")  # what old set-ups put behind the subdomain
_OLD_PREFIXES = ("", "api.", "login.", "apps.")


def domain_of_region(value: Any) -> str:
    """The domain of an AWS region id or of a Genesys domain, in any case of letters. Raises ``Wrong``."""
    given = value.strip().lower() if isinstance(value, str) else ""
    domain = REGIONS.get(given, given)
    if domain in REGIONS.values():
        return domain
    close = difflib.get_close_matches(given, [*REGIONS, *REGIONS.values()], n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    raise Wrong(
        "is no known region",
        f"{meant}it is an AWS region id or a Genesys domain: "
        + ", ".join(f"{region} ({domain})" for region, domain in REGIONS.items())
        + "; for a newer region set GENESYS_API_URL and GENESYS_LOGIN_URL",
    )


def domain_of_subdomain(value: Any) -> str:
    """The domain that an old set-up's subdomain stood for.

    Accepted is the host part of exactly one known region: ``usw2``, ``api.usw2``, ``api`` (of
    mypurecloud.com), or a whole host. An org's own name never was one. Raises ``Wrong``.
    """
    given = value.strip().lower() if isinstance(value, str) else ""
    hosts = {prefix + domain: domain for domain in REGIONS.values() for prefix in _OLD_PREFIXES}
    labels = [domain for domain in REGIONS.values() if domain.split(".")[0] == given]
    found = {hosts[given + suffix] for suffix in _OLD_SUFFIXES if given + suffix in hosts} | set(labels)
    if len(found) == 1:
        return found.pop()
    raise Wrong(
        "fits several regions" if found else "is the host part of no known region",
        "Genesys Cloud has no subdomain for an org: remove it and set GENESYS_REGION,"
        " as in GENESYS_REGION=us-east-1",
    )


def hosts(domain: str) -> tuple[str, str]:
    """API and login address of a domain."""
    return f"https://api.{domain}", f"https://login.{domain}"
