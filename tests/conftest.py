"""What holds for all tests."""

import pytest
from hypothesis import settings

# No deadline: on a busy machine an example's time says nothing about the code.
settings.register_profile("passferry", deadline=None)
settings.load_profile("passferry")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, so that no process is left with one of them at the end."""
    items.sort(key=lambda item: item.path.name != "test_promises.py")
