"""How ``serve`` is reached: its command line over the settings, and what allows it to leave loopback."""

from collections.abc import Mapping
from typing import Any

from passferry.config.problems import Problem
from passferry.config.settings import LISTEN, TlsFiles
from passferry.config.sources import Gathered, Given
from passferry.config.values import loopback

PATHS = ("tls_cert", "tls_key", "tls_client_ca")


def override(found: Gathered, options: Mapping[str, Any]) -> None:
    """Let ``options`` take precedence over what the file and the environment give for the same keys."""
    for name, value in options.items():
        if name not in ("host", "port"):
            found.general[name] = Given(value, "--" + name.replace("_", "-"))


def check(found: Gathered, general: dict[str, Any], options: Mapping[str, Any]) -> None:
    """Note every mistake of ``general``, the checked values, that concerns callers.

    ``host`` and ``port`` of ``options`` are parts of ``listen``, which is put together here.
    """
    host, port = general.get("listen", LISTEN)
    general["listen"] = host, port = options.get("host", host), options.get("port", port)
    tls = [name for name in PATHS if name in found.general]
    proxied = "behind_proxy" in found.general and general.get("behind_proxy") != ()
    if tls and proxied:
        found.problem(
            f"{found.general[tls[0]].where} and {found.general['behind_proxy'].where} are both given",
            "a proxy that reaches this port over TLS needs no behind_proxy: remove one of them",
        )
    if tls:
        _check_tls(found, general, tls)
    elif not proxied and not loopback(host):
        found.problem(
            f"plain HTTP is served on this machine only, and {host} is not a loopback address",
            "give a certificate (PASSFERRY_TLS_CERT and PASSFERRY_TLS_KEY), or behind a proxy that speaks TLS"
            " its address (PASSFERRY_BEHIND_PROXY)",
        )


def _check_tls(found: Gathered, general: Mapping[str, Any], given: list[str]) -> None:
    from passferry.config.tls import TlsUnusable, server_context  # late: few commands need what it imports

    for name in ("tls_cert", "tls_key"):
        if name not in given:
            found.problem(
                f"{found.general[given[0]].where} is given without {name}",
                "TLS needs PASSFERRY_TLS_CERT and PASSFERRY_TLS_KEY",
            )
    if not {"tls_cert", "tls_key", *given} <= general.keys():
        return
    mistakes: list[Problem] = []
    try:
        server_context(TlsFiles(general["tls_cert"], general["tls_key"], general.get("tls_client_ca")))
    except TlsUnusable as error:
        mistakes = [
            Problem(f"the file of {found.general[each.key].where} {each.what}", each.hint)
            for each in error.mistakes
        ]
    found.problems += mistakes
