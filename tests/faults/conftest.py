"""What the tests of faults are given."""

import pytest


@pytest.fixture
def table(record_property):
    """Gives a kind's function that notes (fault, place, result) for the table at the end."""
    return lambda kind: lambda *columns: record_property("fault", (kind, *columns))


@pytest.fixture
def fault_seed(request):
    """What draws the random points."""
    return request.config.getoption("--fault-seed")
