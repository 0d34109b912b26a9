"""Bad tables in the real pillar change nothing, and every fault is reported with its path."""

import json
import os
import re
from contextlib import contextmanager

import pytest

from tests.cluster.salt_views import MinionLog, everything, lose_address

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]


def row(**columns):
    """A correct row except for the given columns."""
    return {"protocol": "tcp", "port": 8123, "source": "any", "destination": "any", **columns}


ROWS = {
    "port_zero": row(port=0),
    "port_high": row(port=70000),
    "port_negative": row(port=-1),
    "port_reversed": row(port="90-80"),
    "port_word": row(port="ssh"),
    "port_text": row(port="8123"),
    "port_boolean": row(port=True),
    "port_float": row(port=80.5),
    "port_none": row(port=None),
    "port_map": row(port={"low": 1}),
    "port_overlap": row(port=[85, "80-90"]),
    "port_rule": row(port='80" accept'),
    "protocol_unknown": row(protocol="quic"),
    "protocol_number": row(protocol=6),
    "protocol_rule": row(protocol='tcp" drop'),
    "protocol_any": row(protocol="any"),
    "source_unknown": row(source="everyone"),
    "source_number": row(source=10),
    "source_empty": row(source=[]),
    "source_broken": row(source="192.0.2.300/24"),
    "source_host_bits": row(source="192.0.2.1/24"),
    "source_host_bits_6": row(source="2001:db8::1/64"),
    "source_rule": row(source='192.0.2.0/24" accept'),
    "source_line": row(source="192.0.2.0/24\ndrop"),
    "destination_unknown": row(destination="master"),
    "destination_list": row(destination=["any"]),
    "description_number": row(description=5),
    "description_line": row(description='a\nrule family="ipv4" accept'),
    "enabled_text": row(enabled="yes"),
    "backend_unknown": row(flannel_backend="vxlan; accept"),
    "key_unknown": row(prot="tcp"),
    # Correct, and new: without the others it would be applied.
    "right": row(description="""with "quotes', <xml> & more"""),
}
FAULTY_COLUMN = {
    "port": "port",
    "protocol": "protocol",
    "source": "source",
    "destination": "destination",
    "description": "description",
    "enabled": "enabled",
    "backend": "flannel_backend",
    "key": "prot",
}


def path_of(name):
    # Protocol any is valid alone, but not with a port.
    column = "port" if name == "protocol_any" else FAULTY_COLUMN[name.split("_")[0]]
    return f"k3s:ports:cluster:{name}:{column}"


# The operator's file below k3s, and the pillar paths that must be reported for it.
SITES = {
    "addresses": (
        {
            "pod_cidrs": ["10.42.1.0/16"],
            "service_cidrs": "10.43.0.0/33",
            "node_cidrs": ['192.0.2.0/24" accept'],
            "groups": {
                "broken": ["x"],
                "empty": [],
                "numbers": [5],
                "Upper Case": ["192.0.2.0/24"],
                "any": ["192.0.2.0/24"],
                'quo"te': ["192.0.2.0/24"],
            },
            "nodes": {
                "s9": {"role": "server", "addresses": ["192.0.2.999"]},
                "s8": {"role": "master", "addresses": ["192.0.2.8"]},
                "s7": {"role": "server"},
                "s 6": {"role": "server", "addresses": ["192.0.2.6"]},
                "s5": {"role": "server", "addresses": ["192.0.2.5"], "zone": "public"},
            },
            "ports": {"manager": {"right": {"protocol": "tcp", "port": 8123}}},
        },
        {
            "k3s:pod_cidrs:0",
            "k3s:service_cidrs",
            "k3s:node_cidrs:0",
            "k3s:groups:broken:0",
            "k3s:groups:empty",
            "k3s:groups:numbers:0",
            "k3s:groups:Upper Case",
            "k3s:groups:any",
            'k3s:groups:quo"te',
            "k3s:nodes:s9:addresses:0",
            "k3s:nodes:s8:role",
            "k3s:nodes:s7:addresses",
            "k3s:nodes:s 6",
            "k3s:nodes:s5:zone",
        },
    ),
    "types of the rows": (
        {
            "portz": {},
            "cluster": ["a"],
            "flannel_backend": 5,
            "firewall": {"expected_nodes": "5", "panic": True},
            "ports": {
                "cluster": {"a_text": "80/tcp", "a_list": [80], "nothing": None, "empty": {}},
                "manager": {"a_number": 80, 'quo"te': row(source="clients", port=8124)},
                "extra": {},
            },
        },
        {
            "k3s:portz",
            "k3s:cluster",
            "k3s:flannel_backend",
            "k3s:firewall:expected_nodes",
            "k3s:firewall:panic",
            "k3s:ports:extra",
            "k3s:ports:cluster:a_text",
            "k3s:ports:cluster:a_list",
            "k3s:ports:cluster:nothing",
            "k3s:ports:cluster:empty",
            "k3s:ports:manager:a_number",
            'k3s:ports:manager:quo"te',
        },
    ),
    "types of the tables": (
        {
            "ports": {"cluster": [row()], "manager": "none"},
            "groups": "clients",
            "nodes": {"s9": "192.0.2.9"},
            "firewall": 3,
            "pod_cidrs": {"cluster": "10.42.0.0/16"},
        },
        {
            "k3s:ports:cluster",
            "k3s:ports:manager",
            "k3s:groups",
            "k3s:nodes:s9",
            "k3s:firewall",
            "k3s:pod_cidrs",
        },
    ),
    "types of all": (
        {"ports": "all", "nodes": ["s1"], "groups": None},
        {"k3s:ports", "k3s:nodes", "k3s:groups"},
    ),
    "no map at all": (["ports"], {"k3s"}),
    "nothing": (None, {"k3s"}),
}


@contextmanager
def pillar_files(cluster, **texts):
    """Write files that override those of the checkout's pillar for the block."""
    paths = {cluster.lab.srv / "pillar" / name: text for name, text in texts.items()}
    try:
        for path, text in paths.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        yield
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def faults(comment):
    """The faults by the pillar path that each names."""
    found = {}
    for line in comment.splitlines():
        # A path can hold anything except a colon followed by a space.
        path = re.match(r"pillar (.+?): ", line)
        assert path, line
        found.setdefault(path[1], []).append(line)
    return found


@pytest.fixture
def drifted(applied):
    """A server with drift, which an apply would repair if it were not refused."""
    with drift(applied.host("s1")) as host:
        yield host


@contextmanager
def drift(host):
    lose_address(host, "192.0.2.21")
    try:
        yield host
    finally:
        # It fails if an apply that was not refused has repaired it.
        host.run(["firewall-cmd", "--ipset=k3s-node-4", "--add-entry=192.0.2.21"], check=False)


def refusal(applied, host):
    """The comment of an apply on this host, which must refuse and touch nothing."""
    before, log = everything(host), MinionLog(host)
    state = applied.apply(host.name)[host.name]
    assert (state["result"], state["changes"]) == (False, {})
    assert everything(host) == before
    assert "Traceback" not in state["comment"]
    assert "Traceback" not in log.text()
    headline, _line, sentences = state["comment"].partition("\n")
    assert headline == "refused, and nothing was changed"
    return sentences


@pytest.mark.parametrize("site", SITES)
def test_every_fault_is_reported_with_its_path_and_nothing_is_touched(applied, drifted, site):
    mapping, expected = SITES[site]
    with applied.site({"k3s": mapping}):
        named = set(faults(refusal(applied, drifted)))
    assert expected <= named
    # Values missing below something that is not a map may be reported too, and nothing else.
    assert all(path.startswith(("k3s:ports", "k3s:nodes")) for path in named - expected)


def test_every_faulty_row_is_named_with_its_fix_and_check_ports_says_the_same(applied, drifted):
    with applied.site({"k3s": {"ports": {"cluster": ROWS}}}):
        comment = refusal(applied, drifted)
        report, code = applied.salt_call("s1", "k3sfw.check_ports")
    assert (report["status"], code) == ("UNKNOWN", 4)
    assert report["problems"] == comment.splitlines()
    said = faults(comment)
    assert set(said) == {path_of(name) for name in ROWS if name != "right"}
    for name, words in {
        "port_zero": "port 0 is not in 1-65535",
        "port_high": "port 70000 is not in 1-65535",
        "port_reversed": "write 80-90",
        "port_word": "'ssh' is not a port",
        "protocol_unknown": "not one of tcp, udp, sctp, any",
        "source_unknown": "not server, agent, any, pods, services, a group (clients) or a CIDR",
        "source_host_bits": "has host bits set; the network is 192.0.2.0/24",
        "key_unknown": "is not known. Fix: known here: description, destination, enabled",
    }.items():
        (sentence,) = said[path_of(name)]
        assert words in sentence


@pytest.mark.parametrize(
    ("files", "path", "fix"),
    [
        ({"top.sls": "base: {}"}, "k3s", "target pillar/k3s at this minion"),
        ({"k3s/nodes.sls": "k3s: {nodes: {}}"}, "k3s:nodes", "include k3s.nodes"),
        ({"k3s/nodes.sls": "{}"}, "k3s:nodes", "include k3s.nodes"),
        ({"k3s/ports.sls": "{}"}, "k3s:ports", "include k3s.ports"),
    ],
    ids=["no pillar", "no node", "unknown nodes", "no tables"],
)
def test_an_incomplete_pillar_closes_nothing_and_says_what_to_include(
    applied, drifted, files, path, fix
):
    with pillar_files(applied, **files):
        said = faults(refusal(applied, drifted))
    assert set(said) == {path}
    assert fix in said[path][0]


def test_a_pinned_role_that_contradicts_the_grain_is_refused(applied, drifted):
    with applied.site({"k3s": {"nodes": {"s1": {"role": "agent"}}}}):
        said = faults(refusal(applied, drifted))
    assert set(said) == {"k3s:nodes:s1:role"}
    assert "pillar says agent and the grain k3s_role of the node says server" in str(said)


def test_an_invalid_pin_is_refused_and_not_taken_for_a_claim_of_the_minion(applied, drifted):
    pins = {"s2": {"addresses": ["192.0.2.999"]}, "a1": {"role": "master", "zone": "public"}}
    with applied.site({"k3s": {"nodes": pins}}):
        said = faults(refusal(applied, drifted))
    assert set(said) == {"k3s:nodes:s2:addresses:0", "k3s:nodes:a1:role", "k3s:nodes:a1:zone"}


def test_a_site_file_that_is_not_yaml_stops_the_state_and_touches_nothing(applied, drifted):
    before = everything(drifted)
    with pillar_files(applied, **{"k3s/site.sls": "k3s: {"}):
        returned = applied.salt("s1", "state.apply", "k3s.firewall")["s1"]
    assert "k3s.ports" in json.dumps(returned) and "Traceback" not in json.dumps(returned)
    assert everything(drifted) == before
