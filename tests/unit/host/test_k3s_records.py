"""What K3s wrote down about its datastore and the cluster's DNS; what it did not is unknown."""

from __future__ import annotations

import pytest

from k3sfw_engine.host.k3s_records import read_cluster_dns, read_datastore
from k3sfw_engine.model.datastore import Datastore


def test_the_datastore_is_the_one_that_lies_there(tmp_path):
    assert read_datastore(tmp_path) is Datastore.UNKNOWN
    (tmp_path / "server/db").mkdir(parents=True)
    assert read_datastore(tmp_path) is Datastore.UNKNOWN
    (tmp_path / "server/db/state.db").touch()
    assert read_datastore(tmp_path) is Datastore.SQLITE
    # As a cluster has both that moved from one to the other.
    (tmp_path / "server/db/etcd").mkdir()
    assert read_datastore(tmp_path) is Datastore.ETCD


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("clusterDNS:\n- 10.43.0.10\nclusterDomain: cluster.local\n", ["10.43.0.10"]),
        ("clusterDNS:\n  - 10.43.0.10\n  - fd43::a\n", ["10.43.0.10", "fd43::a"]),
        ("clusterDNS: [10.43.0.10]\n", ["10.43.0.10"]),
        ("clusterDomain: cluster.local\n", []),
        ("clusterDNS:\n- nonsense.dead.beef\n", []),
        ("clusterDNS: null\nother:\n- 10.43.0.10\n", []),
        ("\x00\xff", []),
    ],
)
def test_the_dns_service_is_read_as_the_kubelet_has_it(tmp_path, text, addresses):
    path = tmp_path / "agent/etc/kubelet.conf.d/00-k3s-defaults.conf"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert list(map(str, read_cluster_dns(tmp_path))) == addresses


def test_without_the_file_there_is_no_dns_service(tmp_path):
    assert read_cluster_dns(tmp_path) == ()
