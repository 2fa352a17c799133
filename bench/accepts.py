"""Durable accepts a second of 32 callers, against a bare JSON echo on the same server in the same round."""

import asyncio

import callers
import databases
import programs
from figures import Asked, Row, at_least, spread

ACCEPTS, CALLERS = 2000, 32


def on_sqlite(asked: Asked) -> list[Row]:
    """The embedded database."""
    return [_row(databases.SQLITE, 0.2, asked)]


def on_postgresql(asked: Asked) -> list[Row]:
    """On the same machine, with its syncs."""
    return [_row(databases.POSTGRESQL, 0.1, asked)]


def _row(kind: str, bound: float, asked: Asked) -> Row:
    count = asked.scaled(ACCEPTS)
    ratios, rates, latencies = [], [], []
    with (
        programs.folder() as folder,
        databases.settings(kind, folder) as chosen,
        programs.echo(folder) as echo,
        programs.gateway(folder, "http://127.0.0.1:9", **chosen, **FOR_LOAD) as gateway,
    ):
        gateway.pause()  # accepting is what is measured
        for number in range(asked.rounds + 1):
            bodies = [callers.change(f"u{number}-{n}@example.com", f"N3w-Passw0rd!{n}") for n in range(count)]
            bare = _fast(echo.host, gateway.headers, "/", bodies)
            real = _fast(gateway.host, gateway.headers, "/sync/password", bodies)
            assert real.statuses == {202: count}, real.statuses
            if number:  # the first round warms up
                ratios.append(bare.wall / real.wall)
                rates.append(count / real.wall)
                latencies.append(real.quantile(0.99))
    note = f"; {spread(rates, '/s')}, p99 {spread(latencies, ' ms')}"
    return at_least(
        f"accepts/s, durable, 32 callers, {kind}, against a bare JSON echo", ratios, bound, note=note
    )


FOR_LOAD = {"PASSFERRY_SOURCE_RATE": "1000000", "PASSFERRY_VERIFIER": "false", "GENESYS_RATE": "1000000"}
"""Settings under which only the machine is a limit."""


def _fast(host: tuple[str, int], headers: str, path: str, bodies: list[bytes]) -> callers.Answers:
    return asyncio.run(callers.as_fast_as_possible(host, headers, path, bodies, CALLERS))
