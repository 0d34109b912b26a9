"""What a test did to a cluster is put back after it, so that the next one finds it as it was."""

import pytest


@pytest.fixture(autouse=True)
def _cluster_put_back(request):
    """Give the next test the cluster that this one got."""
    yield
    # After an interruption there are no arguments any more, and no other test comes next.
    cluster = (request.node.funcargs or {}).get("cluster")
    if cluster:
        cluster.put_back()
