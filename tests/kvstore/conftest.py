"""Both tiers that outlive the process, for what they promise alike."""

import pytest

from kvstore import DiskReader, DiskTier, LmdbReader, LmdbTier


@pytest.fixture(params=[DiskTier, LmdbTier], ids=lambda tier: tier.name)
def durable(request):
    """Opens a directory for writing."""
    return request.param


@pytest.fixture
def reader_of(durable):
    """Opens for reading what `durable` writes."""
    return {DiskTier: DiskReader, LmdbTier: LmdbReader}[durable]
