"""What tests of hooks share."""

from collections.abc import Iterator

import pytest

from hook_fakes import FakeGateway


@pytest.fixture
def fake() -> Iterator[FakeGateway]:
    """A gateway that answers."""
    with FakeGateway() as gateway:
        yield gateway
