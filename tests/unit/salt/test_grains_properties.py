"""Whatever a host looks like: no agent becomes a server, and no foreign address a node's."""

from __future__ import annotations

import ipaddress
import json

from hypothesis import given, settings, strategies as st

from _grains._k3s_kernel import Link
from tests.unit.salt.k3s_hosts import CONFIGURATION, DATA, UNITS, Host, address

ROLES = st.sampled_from(["server", "agent"])
NAMES = st.sampled_from(["k3s", "k3s-agent", "k3s-server", "k3s-node", "k3s-edge"])
# How a command that runs this role can be written.
SPELLINGS = st.sampled_from(
    [
        "/usr/local/bin/k3s {role}",
        "/usr/local/bin/k3s \\\n    {role} \\\n\t'--node-name={other}' \\\n",
        "-/usr/bin/env K3S_TOKEN={other} /opt/k3s '{role}'",
        '/bin/sh -c "exec k3s {role} --node-name {other}"',
        "/usr/local/bin/k3s --data-dir /{other} {role} --server https://{other}:6443",
        "/usr/local/bin/k3s-{role} --token {other}",
        "/usr/local/bin/k3s ${{ROLE}}",
    ]
)
OTHER = {"server": "agent", "agent": "server"}


@st.composite
def services(draw):
    """Names, what they run, whether they are enabled, and how the command is written."""
    names = draw(st.lists(NAMES, unique=True, max_size=3))
    return [(name, draw(ROLES), draw(st.booleans()), draw(SPELLINGS)) for name in names]


def install(host, name, role, enabled, spelling, drop_in):
    command = spelling.format(role=role, other=OTHER[role])
    unit, variables = f"{name}.service", f"Environment=ROLE={OTHER[role]}"
    more = (variables, f"EnvironmentFile=-/{UNITS}/{unit}.env")
    host.write(f"{UNITS}/{unit}.env", f"# ROLE={OTHER[role]}\nROLE='{role}'\n")
    if drop_in:
        host.unit(unit, f"/usr/local/bin/k3s {OTHER[role]}", *more)
        text = f"[Service]\nExecStart=\nExecStart={command}\n"
        host.write(f"{UNITS}/{unit}.d/override.conf", text)
    else:
        host.unit(unit, command, *more)
    if enabled:
        host.enable(unit)


@settings(max_examples=100)
@given(
    installed=services(),
    drop_in=st.booleans(),
    folders=st.sets(st.sampled_from(["server", "agent", "data"])),
    process=st.sampled_from(["", "server", "agent"]),
)
def test_a_host_is_a_server_only_if_that_runs_or_nothing_contradicts_it(
    tmp_path_factory, installed, drop_in, folders, process
):
    host = Host(tmp_path_factory.mktemp("host"))
    for service in installed:
        install(host, *service, drop_in)
    host.folder(*(f"{DATA}/{name}" for name in folders))
    if process:
        host.process(7, f"/usr/local/bin/k3s {process}", f"k3s-{process}")
    grains = host.grains()
    starts = {role for _name, role, enabled, _spelling in installed if enabled}
    starts = starts or {role for _name, role, _enabled, _spelling in installed}
    says = starts or ({"server"} if "server" in folders else {"agent"} & folders)
    says |= {process} - {""}
    # A server is also an agent: its folder alone does not contradict.
    if grains.get("k3s_role") == "server":
        assert says == {"server"}
    elif says == {"server"}:
        raise AssertionError(f"a server is taken for {grains.get('k3s_role')}")
    if len(says) > 1:
        assert grains["k3s_role"] == "agent"
        assert grains["k3s_doubts"]
    assert bool(says) == bool(grains)


# Each address belongs to one of these, so a claim shows from where it is.
OWN = {"eth0": "192.0.2.11/24", "eth1": "10.0.0.11/24", "eth2": "2001:db8::11/64"}
FOREIGN = {
    "br-0123456789ab": "172.18.0.1/16",
    "cni0": "10.42.0.1/24",
    "docker0": "172.17.0.1/16",
    "flannel.1": "10.42.0.0/32",
    "kube-ipvs0": "10.43.0.10/32",
    "podman0": "10.88.0.1/16",
    "tunl0": "10.42.0.7/32",
    "virbr0": "192.168.122.1/24",
}
PEERS = ("192.0.2.12", "10.0.0.12", "2001:db8::12", "198.51.100.12")
VIRTUAL = "192.0.2.100/32"
OWN_TEXTS = {text.partition("/")[0] for text in OWN.values()}
KEYS = ("node-ip", "i", "node-ip+", "flannel-iface", "server", "data-dir", "unknown")


@st.composite
def configurations(draw):
    """Keys that K3s knows with values that make sense, and with values that make none."""
    content = {}
    for key in draw(st.lists(st.sampled_from(KEYS), unique=True)):
        if key in ("node-ip", "i", "node-ip+"):
            some = st.lists(st.sampled_from(sorted(OWN_TEXTS)), max_size=2)
            content[key] = draw(st.one_of(some, some.map(",".join), st.just("nonsense")))
        elif key == "flannel-iface":
            content[key] = draw(st.sampled_from([*OWN, "missing0"]))
        elif key == "server":
            content[key] = f"https://{draw(st.sampled_from(PEERS[:2]))}:6443"
        else:
            content[key] = draw(st.sampled_from(["/data", "", None, "x"]))
    return content


@settings(max_examples=100)
@given(
    configuration=configurations(),
    gateway=st.sampled_from(["", *OWN, *FOREIGN]),
    cards=st.permutations([*OWN.items(), *FOREIGN.items(), ("eth0", VIRTUAL)]),
    sources=st.dictionaries(
        st.sampled_from(PEERS), st.sampled_from([*OWN.values(), *FOREIGN.values(), VIRTUAL])
    ),
    local=st.sampled_from([None, *OWN.values(), VIRTUAL, "172.17.0.1/16"]),
    subnets=st.booleans(),
)
def test_only_addresses_of_the_nodes_own_cards_are_ever_claimed(
    tmp_path_factory, configuration, gateway, cards, sources, local, subnets
):
    host = Host(tmp_path_factory.mktemp("host"))
    host.install_sh("agent")
    host.write(CONFIGURATION, json.dumps(configuration))
    balancer = {"ServerAddresses": [f"{peer}:6443" for peer in PEERS if ":" not in peer]}
    for data in (DATA, "data"):
        host.write(f"{data}/agent/etc/k3s-agent-load-balancer.json", json.dumps(balancer))
    if subnets:
        host.write("run/flannel/subnet.env", "FLANNEL_NETWORK=10.42.0.0/16\n")
    by_card = {}
    for card, text in cards:
        by_card.setdefault(card, []).append(text)
    sender = address("flannel.1", local).ip if local else None
    links = [Link("flannel.1", "vxlan", True, (sender,) if sender else ())]
    picked = {to: text.partition("/")[0] for to, text in sources.items()}
    found = host.grains(by_card, gateway=gateway, sources=picked, links=links)
    assert set(found["k3s_node_ips"]) <= OWN_TEXTS
    assert found["k3s_node_ips"]


# Every file that is read on a node, with a text that makes sense there.
FILES = {
    f"{UNITS}/k3s.service": "[Service]\nExecStart=/opt/k3s server \\\n '--node-ip=1.2.3.4'",
    f"{UNITS}/k3s.service.d/a.conf": "[Service]\nExecStart=\nExecStart=/bin/sh -c 'k3s agent'\n",
    f"{UNITS}/k3s.service.env": "K3S_URL='https://192.0.2.12:6443'\n",
    "etc/init.d/k3s-edge": 'command=/usr/bin/k3s\ncommand_args="agent ${K3S_OPTS:-x}"\n. /etc/x\n',
    "etc/conf.d/k3s-edge": "export K3S_OPTS='--server x'\n",
    CONFIGURATION: "node-ip: [10.0.0.11]\nserver: https://s1:6443\nx: &x {i: 1}\n<<: *x\n",
    f"{DATA}/agent/etc/flannel/net-conf.json": '{"Network": "10.42.0.0/16", "IPv6Network": null}',
    f"{DATA}/agent/etc/k3s-agent-load-balancer.json": '{"ServerAddresses": ["192.0.2.12:6443"]}',
    f"{DATA}/agent/serving-kubelet.crt": "-----BEGIN CERTIFICATE-----\nBgNVHRE=\n-----END CERTIFI",
    "etc/hosts": "192.0.2.12 s1\n",
    "run/flannel/subnet.env": "FLANNEL_NETWORK=10.42.0.0/16\n",
    "proc/7/comm": "k3s-server\n",
    "proc/7/cmdline": "/usr/local/bin/k3s server\0",
    "proc/7/cgroup": "0::/system.slice/k3s.service\n",
}


@st.composite
def spoilt(draw, text):
    """The text with something put in its middle, or something else altogether."""
    place = draw(st.integers(0, len(text)))
    more = draw(
        st.one_of(st.binary(max_size=20), st.sampled_from([b'"', b"'", b"\\", b"${", b"$("]))
    )
    kept = text[:place].encode() + more + draw(st.sampled_from([text[place:], ""])).encode()
    return draw(st.sampled_from([kept, more, text.encode()]))


@settings(max_examples=100)
@given(contents=st.fixed_dictionaries({path: spoilt(text) for path, text in FILES.items()}))
def test_no_content_of_any_file_stops_the_grains(tmp_path_factory, contents):
    host = Host(tmp_path_factory.mktemp("host"))
    for path, content in contents.items():
        host.write(path, content)
    grains = host.grains()
    assert grains.get("k3s_role") in (None, "server", "agent")
    assert all(ipaddress.ip_address(text) for text in grains.get("k3s_node_ips", ()))
    assert json.dumps(grains)
