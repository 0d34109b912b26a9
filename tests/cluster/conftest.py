"""Undoes what a test did to a cluster, so that the next one finds it unchanged."""

import pytest


@pytest.fixture(autouse=True)
def _cluster_put_back(request):
    """Restore the cluster that this test got, for the next one."""
    yield
    # After an interruption there are no arguments any more, and no further test.
    cluster = (request.node.funcargs or {}).get("cluster")
    if cluster:
        cluster.put_back()
