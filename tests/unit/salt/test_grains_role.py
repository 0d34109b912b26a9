"""The role of a host: what its service runs decides, and in doubt it is an agent."""

from __future__ import annotations

import os

import pytest

from tests.unit.salt.k3s_hosts import CONFIGURATION, DATA, UNITS, Host


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def role_and_doubts(host, **options):
    grains = host.grains(**options)
    return grains.get("k3s_role"), len(grains.get("k3s_doubts", []))


SERVER, AGENT, DOUBTFUL, NONE = ("server", 0), ("agent", 0), ("agent", 1), (None, 0)


# --- as installers and public roles leave a host ---


def install_sh_server(host):
    host.install_sh("server", "--cluster-init")


def install_sh_agent(host):
    host.install_sh("agent", environment="K3S_URL='https://192.0.2.11:6443'\n")


def install_sh_with_a_name(host):
    host.install_sh("agent", name="k3s-edge")


def pyratlabs_agent(host):
    host.unit("k3s.service", "/usr/local/bin/k3s agent --config /etc/rancher/k3s/config.yaml")
    host.enable("k3s.service")
    host.write(CONFIGURATION, "server: https://192.0.2.11:6443\n")
    host.folder(f"{DATA}/agent")


def k3s_ansible_agent(host):
    command = "/usr/local/bin/k3s agent --data-dir /var/lib/rancher/k3s --server https://s1:6443 "
    environment = f"EnvironmentFile=-/{UNITS}/k3s-agent.service.env"
    host.unit("k3s-agent.service", command, environment, "Type=exec", "KillMode=process")
    host.enable("k3s-agent.service")


def techno_tim_agent(host):
    host.unit("k3s-node.service", "/usr/local/bin/k3s agent --server https://192.0.2.11:6443")
    host.enable("k3s-node.service")


def nixos_agent(host):
    store = "nix/store/abc-unit-k3s.service/k3s.service"
    host.write(store, "[Service]\nExecStart=/nix/store/x-k3s-1.30/bin/k3s \\\n agent \\\n --x y\n")
    host.link(f"{UNITS}/k3s.service", str(host.root / store))
    host.enable("k3s.service")


def alpine_agent(host):
    host.alpine('export PATH="/usr/libexec/cni/:$PATH"\nK3S_EXEC="agent"\nK3S_OPTS=""\n')


def alpine_server(host):
    host.alpine('K3S_EXEC="server"\nK3S_OPTS="--node-ip 192.0.2.11"\n')


def openrc_agent_under_the_servers_name(host):
    host.install_sh_openrc("agent", "--node-ip=192.0.2.11")


def openrc_override_of_a_default(host):
    host.write(
        "etc/init.d/k3s",
        "#!/sbin/openrc-run\ncommand=/usr/bin/k3s\n: ${K3S_EXEC:=server}\n"
        'command_args="${K3S_EXEC}"\n',
    )
    host.write("etc/conf.d/k3s", "K3S_EXEC=agent\n")


@pytest.mark.parametrize(
    ("furnish", "expected"),
    [
        (install_sh_server, SERVER),
        (install_sh_agent, AGENT),
        (install_sh_with_a_name, AGENT),
        (k3s_ansible_agent, AGENT),
        (pyratlabs_agent, AGENT),
        (techno_tim_agent, AGENT),
        (nixos_agent, AGENT),
        (alpine_agent, AGENT),
        (alpine_server, SERVER),
        (openrc_agent_under_the_servers_name, AGENT),
        (openrc_override_of_a_default, AGENT),
        (lambda host: None, NONE),
    ],
)
def test_the_role_is_what_the_service_runs(furnish, expected, host):
    furnish(host)
    assert role_and_doubts(host) == expected


# --- one command in many spellings ---


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/usr/local/bin/k3s agent", AGENT),
        ("/usr/local/bin/k3s   \\\n# a comment\n \\\n   'agent' \\\n\t'--x=server'", AGENT),
        ("-@/usr/local/bin/k3s k3s agent", AGENT),
        ("+/usr/bin/env K3S_TOKEN=server k3s agent", AGENT),
        ("/usr/bin/nice -n 5 /opt/k3s agent", AGENT),
        ('/bin/sh -c "exec /usr/local/bin/k3s agent --token server"', AGENT),
        ("/bin/sh -ec 'sleep 1 && k3s agent; k3s kubectl get nodes'", AGENT),
        ("/usr/local/bin/k3s --debug agent", AGENT),
        ("/usr/local/bin/k3s --data-dir server agent", AGENT),
        ("/usr/local/bin/k3s-agent --node-ip 192.0.2.11", AGENT),
        ("/usr/local/bin/k3s ${ROLE}", AGENT),
        ("/usr/local/bin/k3s $ALL", AGENT),
        ("/usr/local/bin/k3s server --node-name agent", SERVER),
        ("/usr/local/bin/k3s\tserver", SERVER),
        ("/usr/local/bin/k3s-server", SERVER),
        ("/bin/bash -lc 'exec k3s server'", SERVER),
        ("/usr/local/bin/k3s \\x73erver", SERVER),
    ],
)
def test_a_command_is_read_as_systemd_reads_it(command, expected, host):
    host.unit("k3s.service", command, "Environment=ROLE=agent 'ALL=agent --debug'")
    assert role_and_doubts(host) == expected


def test_a_script_is_read_for_what_it_starts(host):
    host.unit("k3s.service", "/opt/start-k3s.sh")
    host.write("opt/start-k3s.sh", '#!/bin/bash\nROLE=agent\n# k3s server\nexec k3s "$ROLE"\n')
    assert role_and_doubts(host) == AGENT


def test_a_script_that_may_start_either_is_an_agent_and_said(host):
    host.unit("k3s.service", "/opt/start-k3s.sh")
    host.write("opt/start-k3s.sh", "#!/bin/sh\nif true; then k3s server; else k3s agent; fi\n")
    assert role_and_doubts(host) == DOUBTFUL


@pytest.mark.parametrize(
    "command",
    [
        "/usr/local/bin/k3s etcd-snapshot save",
        "/usr/local/bin/k3s-killall.sh",
        "/usr/bin/systemctl restart k3s",
        "/usr/local/bin/k3s kubectl get nodes -l server",
    ],
)
def test_a_service_that_runs_no_node_makes_no_node(command, host):
    host.unit("k3s-backup.service", command)
    assert role_and_doubts(host) == NONE


# --- drop-ins, environment, folders ---


def test_a_drop_in_replaces_the_command(host):
    host.install_sh("server")
    host.write(
        f"{UNITS}/k3s.service.d/10-agent.conf",
        "[Service]\nExecStart=\nExecStart=/usr/local/bin/k3s agent\n",
    )
    assert role_and_doubts(host) == AGENT


@pytest.mark.parametrize("owner", ["k3s-edge.service", "k3s-.service", "service"])
def test_every_folder_of_drop_ins_counts(owner, host):
    host.install_sh("server", name="k3s-edge")
    drop_in = "[Service]\nExecStart=\nExecStart=/usr/local/bin/k3s agent\n"
    host.write(f"usr/lib/systemd/system/{owner}.d/x.conf", drop_in)
    assert role_and_doubts(host) == AGENT
    # One of the same name in a stronger folder takes its place, even if it is empty.
    host.write(f"{UNITS}/{owner}.d/x.conf", "")
    assert role_and_doubts(host) == SERVER


def test_the_last_environment_file_wins_over_the_unit(host):
    host.unit(
        "k3s.service",
        "/usr/local/bin/k3s $ROLE",
        "EnvironmentFile=-/etc/default/%N",
        "EnvironmentFile=/etc/k3s.env",
        "Environment=ROLE=server",
    )
    host.write("etc/default/k3s", "ROLE=server\n")
    host.write("etc/k3s.env", "# ROLE=server\nROLE='agent'\n")
    assert role_and_doubts(host) == AGENT


@pytest.mark.parametrize("pattern", ["k3s-*.env", "**.env", "k3s-[ab].env", "["])
def test_environment_files_are_found_by_a_pattern(pattern, host):
    host.unit("k3s.service", "/usr/local/bin/k3s agent $MORE", f"EnvironmentFile=-/etc/{pattern}")
    host.write("etc/k3s-a.env", "MORE=--node-ip=10.0.0.11\n")
    host.write("var/lib/rancher/k3s/server/token")
    assert role_and_doubts(host)[0] == "agent"


def test_the_unit_of_the_first_folder_counts(host):
    host.unit("k3s.service", "/usr/bin/k3s server", folder="usr/lib/systemd/system")
    host.unit("k3s.service", "/usr/bin/k3s agent")
    assert role_and_doubts(host) == AGENT


def test_an_instance_of_a_template_is_a_service(host):
    host.unit("k3s@.service", "/usr/local/bin/k3s %i --data-dir /data/%i")
    host.enable("k3s@agent.service")
    assert role_and_doubts(host) == AGENT


# --- several services ---


def test_of_two_services_the_enabled_one_counts(host):
    host.unit("k3s.service", "/usr/local/bin/k3s server")
    host.install_sh("agent")
    host.folder(f"{DATA}/server", f"{DATA}/agent")
    assert role_and_doubts(host) == AGENT


def test_an_enabled_server_beside_a_disabled_agent_is_a_server(host):
    host.unit("k3s-agent.service", "/usr/local/bin/k3s agent")
    host.install_sh("server")
    assert role_and_doubts(host) == SERVER


@pytest.mark.parametrize("enabled", [(), ("k3s.service", "k3s-agent.service")])
def test_two_services_that_disagree_make_an_agent_and_are_said(enabled, host):
    host.unit("k3s.service", "/usr/local/bin/k3s server")
    host.unit("k3s-agent.service", "/usr/local/bin/k3s agent")
    host.folder(f"{DATA}/server")
    for unit in enabled:
        host.enable(unit)
    assert role_and_doubts(host) == DOUBTFUL


@pytest.mark.parametrize("by", ["link", "empty file"])
def test_a_masked_service_does_not_count(by, host):
    host.unit("k3s.service", "/usr/bin/k3s server", folder="usr/lib/systemd/system")
    host.unit("k3s-agent.service", "/usr/bin/k3s agent")
    if by == "link":
        host.link(f"{UNITS}/k3s.service", "/dev/null")
    else:
        host.write(f"{UNITS}/k3s.service")
    assert role_and_doubts(host) == AGENT


# --- without a command ---


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("server", "agent"), SERVER),
        (("server",), SERVER),
        (("agent",), AGENT),
        (("data",), NONE),
        ((), NONE),
    ],
)
def test_without_a_service_the_data_folder_decides(folders, expected, host):
    host.folder(*(f"{DATA}/{name}" for name in folders))
    assert role_and_doubts(host) == expected


def test_the_data_folder_is_the_one_that_k3s_is_told(host):
    host.write(CONFIGURATION, "data-dir: /srv/k3s")
    host.folder("srv/k3s/agent", f"{DATA}/server")
    assert role_and_doubts(host) == AGENT


@pytest.mark.parametrize("way", ["flag", "environment", "file"])
def test_a_moved_data_folder_is_found(way, host):
    flags = ["--data-dir=/data/k3s"] if way == "flag" else []
    environment = "K3S_DATA_DIR='/data/k3s'\n" if way == "environment" else ""
    host.install_sh("agent", *flags, name="k3s-edge", environment=environment)
    if way == "file":
        host.write(CONFIGURATION, "d: /data/k3s\n")
    host.write("data/k3s/agent/etc/flannel/net-conf.json", '{"Network": "10.99.0.0/16"}')
    cards = {"eth0": ["10.99.0.5/16"]}
    # Known only from that file: the pods have this network, so it cannot be the node's.
    assert host.addresses(cards, sources={}) == []


@pytest.mark.parametrize(
    ("name", "folders", "expected"),
    [
        ("k3s.service", (), DOUBTFUL),
        ("k3s.service", ("agent",), AGENT),
        ("k3s.service", ("server", "agent"), SERVER),
        ("k3s-agent.service", (), AGENT),
        ("k3s-agent.service", ("server", "agent"), DOUBTFUL),
        ("k3s-backup.service", (), NONE),
    ],
)
def test_a_service_that_cannot_be_understood_is_never_enough_for_a_server(
    name, folders, expected, host
):
    host.unit(name, "/opt/start")
    host.folder(*(f"{DATA}/{folder}" for folder in folders))
    assert role_and_doubts(host) == expected


# --- what runs ---


def test_a_process_of_the_other_role_makes_an_agent_and_is_said(host):
    host.install_sh("server")
    host.process(7, "/usr/local/bin/k3s agent", "k3s-agent")
    assert role_and_doubts(host) == DOUBTFUL


def test_a_process_never_makes_an_agent_a_server(host):
    host.install_sh("agent")
    host.process(7, "/usr/local/bin/k3s server", "k3s-server")
    assert role_and_doubts(host) == DOUBTFUL


def test_a_process_of_the_same_role_confirms(host):
    host.install_sh("server")
    host.process(7, "/usr/local/bin/k3s server\0\0\0", "k3s-server", "k3s.service")
    assert role_and_doubts(host) == SERVER


@pytest.mark.parametrize("namespaces", [{"pid": "2"}, {"net": "2"}])
def test_a_process_of_a_pod_says_nothing(namespaces, host):
    host.install_sh("server")
    host.process(7, "/usr/local/bin/k3s agent", "k3s-agent", **namespaces)
    assert role_and_doubts(host) == SERVER


def test_a_service_of_any_name_is_found_by_its_process(host):
    host.unit("kubernetes.service", "/usr/local/bin/k3s agent --node-ip=192.0.2.11")
    host.process(7, "/usr/local/bin/k3s agent", "k3s-agent", "kubernetes.service")
    assert role_and_doubts(host) == AGENT


# --- the operator ---


def test_the_operators_role_wins_and_a_contradiction_is_said(host):
    host.install_sh("agent")
    assert role_and_doubts(host, operator={"k3s_role": "server"}) == ("server", 1)
    assert role_and_doubts(host, operator={"k3s_role": "agent"}) == AGENT
    assert role_and_doubts(host, operator={"k3s_role": ""}) == NONE


def test_the_operators_role_settles_what_is_doubtful(host):
    host.unit("k3s.service", "/usr/local/bin/k3s server")
    host.unit("k3s-agent.service", "/usr/local/bin/k3s agent")
    assert role_and_doubts(host, operator={"k3s_role": "server"}) == SERVER


# --- what is broken ---


@pytest.mark.parametrize("kind", ["folder", "loop", "pipe", "huge", "binary"])
def test_a_unit_that_is_not_a_text_never_stops_the_grains(kind, host):
    host.folder(UNITS, f"{DATA}/agent")
    path = host.root / UNITS / "k3s.service"
    if kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(
            b"\xff\0" * 1000 if kind == "binary" else b"ExecStart=k3s server\n" * 20000
        )
    assert role_and_doubts(host) == AGENT
