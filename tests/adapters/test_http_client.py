"""What every client towards a target shares, and what it does not."""

import ssl
from typing import Any

import pytest

from passferry.adapters import http_client


def test_a_thousand_orgs_read_the_certificate_authorities_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients share one TLS context: one of its own would cost each org 50 ms and almost a MiB."""
    loads = []
    load = ssl.SSLContext.load_verify_locations

    def counted(context: ssl.SSLContext, *args: Any, **more: Any) -> None:
        loads.append(1)
        load(context, *args, **more)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    http_client.trust.cache_clear()
    for _ in range(3):
        http_client.http_client()
    assert loads == [1]


def test_the_shared_context_verifies() -> None:
    """Names and certificates are checked."""
    context = http_client.trust()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
