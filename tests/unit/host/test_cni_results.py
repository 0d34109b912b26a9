"""What the CNI's library keeps of each pod is read as portmap reads it, or not at all."""

from __future__ import annotations

import base64
import copy
import json
import os

import netaddr
import pytest

from k3sfw_engine.host.cni_results import read_host_ports
from k3sfw_engine.model.host_ports import HostPorts, PortMapping, PortmapSettings

ID = "2c06183cad50729a97810beea306cf40370732f29021d0ddc7fe8b75480397a9"
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
# As containerd 1.7 leaves it on a K3s node.
KEPT = {
    "kind": "cniCacheV1",
    "containerId": ID,
    "config": [{"type": "flannel", "delegate": {"hairpinMode": True}}, PORTMAP],
    "ifName": "eth0",
    "networkName": "cbr0",
    "netns": "/var/run/netns/cni-1",
    "cniArgs": [["K8S_POD_NAMESPACE", "kube-system"], ["K8S_POD_NAME", "svclb-traefik-x"]],
    "capabilityArgs": {
        "dns": {},
        "portMappings": [
            {"HostPort": 80, "ContainerPort": 8000, "Protocol": "tcp", "HostIP": ""},
            {"HostPort": 53, "ContainerPort": 53, "Protocol": "UDP", "HostIP": "192.0.2.11"},
        ],
    },
    "result": {
        "cniVersion": "1.0.0",
        "interfaces": [
            {"name": "cni0", "mac": "ba:22:ed:d6:22:f6"},
            {"name": "veth312f37c2", "mac": "c6:b0:81:97:c5:71"},
            {"name": "eth0", "mac": "56:72:61:2e:88:d2", "sandbox": "/var/run/netns/cni-1"},
        ],
        "ips": [
            {"interface": 2, "address": "10.42.1.2/24", "gateway": "10.42.1.1"},
            {"interface": 2, "address": "fd42::1:2/112", "gateway": "fd42::1:1"},
        ],
    },
}


@pytest.fixture
def results(tmp_path):
    """Write results, and read the hostPorts of all of them."""
    folder = tmp_path / "var/lib/cni/results"

    def write(*kept):
        folder.mkdir(parents=True)
        for number, each in enumerate(kept):
            path = folder / f"cbr0-{number}-eth0"
            path.write_text(each if isinstance(each, str) else json.dumps(each))
            # The first one is the youngest.
            os.utime(path, (1000 - number, 1000 - number))
        return read_host_ports(tmp_path)

    return write


def kept(plugins=None, **changed):
    each = {**copy.deepcopy(KEPT), **changed}
    network = {"name": "cbr0", "plugins": plugins or each["config"]}
    each["config"] = base64.b64encode(json.dumps(network).encode()).decode()
    return each


def mapped(**changed):
    fields = {"HostPort": 80, "ContainerPort": 80, "Protocol": "tcp", "HostIP": "", **changed}
    return {"portMappings": [fields]}


def test_the_hostports_of_a_pod_are_read_with_all_that_portmap_needs(results):
    found = results(kept())
    assert found.unread == ()
    (pod,) = found.pods
    assert (pod.network, pod.container, pod.pod) == ("cbr0", ID, "kube-system/svclb-traefik-x")
    assert pod.addresses == {
        4: netaddr.IPNetwork("10.42.1.2/24"),
        6: netaddr.IPNetwork("fd42::1:2/112"),
    }
    assert pod.mappings == (
        PortMapping("tcp", 80, 8000),
        PortMapping("udp", 53, 53, (4,), netaddr.IPAddress("192.0.2.11")),
    )
    assert (pod.namespace, pod.links) == ("/var/run/netns/cni-1", ("cni0", "veth312f37c2"))
    assert pod.targets == {
        "80/tcp": ("10.42.1.2:8000", "[fd42::1:2]:8000"),
        "192.0.2.11:53/udp": ("10.42.1.2:53",),
    }


def test_the_oldest_pod_comes_first(results):
    found = results(kept(containerId="young"), kept(containerId="old"))
    assert [pod.container for pod in found.pods] == ["old", "young"]


@pytest.mark.parametrize("spelling", ["hostPort", "HostPort", "HOSTPORT"])
def test_keys_of_mappings_are_read_in_any_case_as_portmap_does(results, spelling):
    mapping = {spelling: 80, "containerport": 80, "PROTOCOL": "tcp"}
    (pod,) = results(kept(capabilityArgs={"portMappings": [mapping]})).pods
    assert pod.mappings == (PortMapping("tcp", 80, 80),)


@pytest.mark.parametrize(("address", "family"), [("0.0.0.0", 4), ("::", 6)])
def test_an_unspecified_address_of_the_host_stands_for_a_family(results, address, family):
    (pod,) = results(kept(capabilityArgs=mapped(HostIP=address))).pods
    assert pod.mappings == (PortMapping("tcp", 80, 80, (family,)),)


def test_an_older_library_names_the_namespace_in_the_result_only(results):
    each = kept()
    del each["netns"]
    (pod,) = results(each).pods
    assert pod.namespace == "/var/run/netns/cni-1"


def test_the_settings_of_the_plugin_are_read(results):
    settings = {
        "backend": "nftables",
        "snat": False,
        "masqAll": True,
        "markMasqBit": 0,
        "conditionsV4": ["!", "-s", "192.0.2.0/24"],
    }
    (pod,) = results(kept([{**PORTMAP, **settings}])).pods
    assert pod.settings == PortmapSettings(
        False, True, 0, "", {4: ("!", "-s", "192.0.2.0/24"), 6: ()}
    )
    assert pod.backend == "nftables"


@pytest.mark.parametrize(
    "each",
    [
        kept(capabilityArgs={"dns": {}, "portMappings": None}),
        kept(capabilityArgs={"portMappings": []}),
        kept([{"type": "bridge"}]),
        kept([{"type": "portmap"}]),
        # Before libcni 0.8, without what the plugin was asked for.
        KEPT["result"],
    ],
)
def test_a_pod_for_which_portmap_wrote_nothing_has_no_hostports(results, each):
    assert results(each) == HostPorts()


@pytest.mark.parametrize(
    "each",
    [
        kept(capabilityArgs=mapped(HostPort=0)),
        kept(capabilityArgs=mapped(HostPort=65536)),
        kept(capabilityArgs=mapped(HostPort="80")),
        kept(capabilityArgs=mapped(ContainerPort=-1)),
        kept(capabilityArgs=mapped(Protocol="tcp\nCOMMIT")),
        kept(capabilityArgs=mapped(HostIP="192.0.2.11 -j ACCEPT")),
        kept(containerId="x\nCOMMIT"),
        kept(networkName="../../etc"),
        kept(result={"ips": [{"address": "10.42.1.2/24 -j ACCEPT"}]}),
        kept(result={}),
        kept(result=None),
        kept([{**PORTMAP, "markMasqBit": 32}]),
        kept([{**PORTMAP, "markMasqBit": -1}]),
        kept([{**PORTMAP, "externalSetMarkChain": "A B"}]),
        kept([{**PORTMAP, "conditionsV4": ["-s\n192.0.2.0/24"]}]),
        {**kept(), "config": "no base64!"},
        {**kept(), "config": ""},
        '["HostPort"]',
        '{"HostPort": ',
        '"HostPort"',
        "[" * 100000 + '"HostPort"',
        json.dumps(kept()) + " " * (1 << 20) + "x",
    ],
)
def test_what_is_not_as_it_must_be_is_named_and_hides_no_other(results, each):
    found = results(each, kept())
    assert [pod.container for pod in found.pods] == [ID]
    (problem,) = found.unread
    assert "cannot be read from" in problem.text
    assert problem.see.startswith("cat /")


def test_a_host_without_results_has_no_pods(tmp_path):
    assert read_host_ports(tmp_path).pods == ()


def test_a_pod_without_names_is_called_by_its_container(results):
    (pod,) = results(kept(cniArgs=None)).pods
    assert pod.pod == ID[:12]
