"""Every contract test runs over every adapter."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from store_bench import ADAPTERS, Bench, open_bench


@pytest.fixture(params=ADAPTERS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """Open stores of one adapter."""
    with open_bench(request.param, tmp_path) as found:
        yield found
