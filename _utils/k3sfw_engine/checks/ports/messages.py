"""Every sentence of check_ports: what was observed, and what fixes it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from k3sfw_engine.checks import suggested_commands
from k3sfw_engine.checks.report import join_some
from k3sfw_engine.checks.verdicts import Check
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.datastore import Datastore
from k3sfw_engine.model.listeners import Listener
from k3sfw_engine.model.packet_question import Answer, IcmpError, ProbeResult
from k3sfw_engine.model.rows import FlannelBackend, Row
from k3sfw_engine.plan.promises import PromiseValue

FREE_PORT = "a port that no row names"
PODS_THROUGH_OVERLAY = "pods of other nodes, through the overlay"

_PEER_ROWS_MISSING = (
    "the pillar that the master compiled for this check has no rows of the other role "
    "(k3s:peer_ports)"
)


# -- a packet that was sent directly --------------------------------------------------------------


def redirected_here(own: str, peer: str) -> Problem:
    return Problem(
        f"{own} itself redirects this packet, as kube-proxy does for a service; {peer} was not "
        "asked",
        see=suggested_commands.check_ports(peer),
    )


def blocked_here(own: str, seen: str) -> Problem:
    return Problem(
        f"blocked by an output rule on {own} itself ({seen})",
        see=f"the chains with hook output: {suggested_commands.list_ruleset(own)}",
    )


def host_down(peer: str, answer: Answer) -> Problem:
    """The peer did not answer on the link, or a router says that it is down.

    By IPv6 a host that drops neighbour discovery looks like one that is down, and the drop table
    of a killed firewalld does: such a host is healed and not started.
    """
    gone = f"if it has left for good: {suggested_commands.delete_key(peer)}"
    start = f"start {peer} and its network"
    if answer.is_from_this_host and answer.icmp is not None and answer.icmp.version == 6:
        heal = f"{suggested_commands.heal(peer)} if its minion answers"
        return Problem(answer.evidence, f"{heal}, otherwise {start}; {gone}")
    return Problem(answer.evidence, f"{start}; {gone}")


def no_route(own: str, answer: Answer) -> Problem:
    return Problem(answer.evidence, see=suggested_commands.check_routes(own))


def not_asked(answer: Answer) -> Problem:
    return Problem(f"could not be asked: {answer.evidence}")


def nothing_listens() -> Problem:
    return Problem(
        "the packet arrives, but nothing listens there",
        "start the service there, or switch its row off (enabled: false)",
    )


def silent(peer: str, answer: Answer, elsewhere: str) -> Problem:
    return Problem(f"{answer.evidence}{elsewhere}", see=suggested_commands.check_ports(peer))


ANSWERS_ELSEWHERE = "; it answers on other ports"
ANSWERS_NOWHERE = "; it answers on no port"


def silent_service(peer: str) -> Problem:
    return Problem(
        "neither a reply nor a rejection: a service that ignores unknown clients looks the same",
        see=suggested_commands.check_ports(peer),
    )


def rejected_on_the_way(peer: str, answer: Answer, router: str) -> Problem:
    return Problem(answer.evidence, f"allow it on {router}, a router on the way to {peer}")


def rejected_by_peer(peer: str, icmp: IcmpError) -> Problem:
    """firewalld's zones and policies reject with admin-prohibited, and with nothing else."""
    if icmp.reason == "admin-prohibited":
        return Problem(
            f"rejected by {peer} itself (firewalld)", suggested_commands.apply_firewall(peer)
        )
    # A rich rule, or kube-proxy for a service that has no endpoints.
    return Problem(
        f"rejected by {peer} itself ({icmp.reason})",
        see=f"{suggested_commands.list_ruleset(peer)} for the rule that does",
    )


def asked_from_unknown_address(own: str, source: str, rejection: Problem) -> Problem:
    return Problem(
        f"{rejection.text}, asked from {source}, which pillar does not list for {own}",
        see=suggested_commands.check_routes(own),
    )


# -- what must be closed --------------------------------------------------------------------------


def open_without_a_row(peer: str, result: ProbeResult) -> Problem:
    hidden = "; it only appears closed because nothing is listening"
    return Problem(
        "reachable although no row allows it"
        + (hidden if result is ProbeResult.NOTHING_LISTENS else ""),
        see=f"{suggested_commands.list_zones(peer)} for what opens it",
    )


def closed_or_unused(peer: str) -> Problem:
    return Problem(
        "port-unreachable: nothing listens there, or a rule rejects with the same code",
        see=suggested_commands.check_ports(peer),
    )


def dropped_or_dead(peer: str) -> Problem:
    return Problem(
        "silence: the packet was dropped, or the peer answers nothing at all",
        see=suggested_commands.check_ports(peer),
    )


def rejected_as_expected(answer: Answer) -> Problem:
    return Problem(f"rejected, as it should be: {answer.evidence}")


def dropped_as_expected(answer: Answer) -> Problem:
    return Problem(f"dropped, as it should be: {answer.evidence}")


# -- the overlay ----------------------------------------------------------------------------------


def no_overlay_entry(own: str, peer: str) -> Problem:
    return Problem(
        f"the overlay of {own} has no entry for {peer}", see=suggested_commands.check_routes(own)
    )


def not_through_overlay(own: str, answer: Answer, inside: str) -> Problem:
    return Problem(
        f"packets to {inside} do not go through the overlay of {own}, but leave with "
        f"{answer.source or 'no address'}",
        see=suggested_commands.check_routes(own),
    )


def overlay_leads_nowhere(own: str, peer: str, answer: Answer) -> Problem:
    return Problem(
        f"the overlay of {own} does not reach {peer}: {answer.evidence}",
        see=suggested_commands.check_routes(own),
    )


def replies_dropped_here(own: str) -> Problem:
    return Problem(f"{own} itself drops the reply")


def silent_overlay(own: str, peer: str, tunnel: str, claimed: bool) -> Problem:
    look = (
        f"{suggested_commands.check_ports(peer)} and {suggested_commands.check_routes(own)}; a "
        f"switch or hypervisor between them may drop {tunnel}"
    )
    return Problem(
        f"nothing comes back through the overlay, and {peer} rejects no {tunnel}",
        see=f"{look}; {_if_pods_moved(peer)}" if claimed else look,
    )


def answered_by_other_pods(peer: str, inside: str, tunnel: str) -> Problem:
    return Problem(
        f"{inside} answered through the overlay, but no {tunnel} packet of {peer} arrived: these "
        "pods may be on another node by now",
        see=_if_pods_moved(peer),
    )


def answered_through_overlay(inside: str) -> Problem:
    return Problem(f"{inside} answered through the overlay")


def overlay_answered() -> Problem:
    return Problem("an answer came through the overlay")


def pods_rejected(peer: str, tunnel: str, icmp: IcmpError | None) -> Problem:
    return Problem(
        f"{peer} accepts {tunnel} packets, but rejects the packets of pods inside ({icmp})",
        suggested_commands.apply_firewall(peer),
    )


def _if_pods_moved(peer: str) -> str:
    return f"{suggested_commands.refresh_grains(peer)}, if {peer} has other pods by now"


# -- what arrives here ----------------------------------------------------------------------------


def arrival_dropped(own: str) -> Problem:
    return Problem(
        f"its packets arrive at {own}, which drops them although its rows are in force",
        see=f"{suggested_commands.list_ruleset(own)} for the rule that does",
    )


# -- what could not be asked ----------------------------------------------------------------------


def rows_of_peer_unknown() -> Problem:
    return Problem(
        f"not asked: {_PEER_ROWS_MISSING}",
        "include k3s.ports in the pillar of this minion, with pillar_cache: False",
    )


def no_common_family(own: str, peer: str) -> Problem:
    return Problem(
        f"not asked: it has no address of an IP family that {own} has",
        see=f"k3s:nodes:{peer}:addresses in pillar",
    )


# -- pillar against this node ---------------------------------------------------------------------


def tunnel_without_a_row(
    devices: Iterable[str],
    missing: tuple[int, ...],
    row: Row | None,
    backend: FlannelBackend,
    ports: tuple[int, ...],
) -> Problem:
    """A tunnel that receives on a port which no row names.

    ports
        All ports that the row must name.
    """
    name = row.name if row else f"flannel_{backend.value.partition('-')[0]}"
    columns: dict[str, object] = {"port": ports[0] if len(ports) == 1 else ports}
    other = f"row {row.name} opens {_ports(row)}" if row else "no row opens a port of flannel"
    if row is None:
        columns = {"protocol": "udp", **columns, "source": "any", "destination": "any"}
    return Problem(
        f"{' and '.join(devices)} receives on udp/{','.join(map(str, missing))}, which no row "
        f"opens: {other}",
        _in_site(row.table if row else _CLUSTER, name, columns),
    )


def plugin_without_a_row(device: str, port: int) -> Problem:
    name = device.replace(".", "_").replace("-", "_")
    columns = {"protocol": "udp", "port": port, "source": "any", "destination": "any"}
    return Problem(
        f"{device} receives on udp/{port}, which no row opens", _in_site(_CLUSTER, name, columns)
    )


def plugin_is_not_asked() -> Problem:
    return Problem(
        "the network plugin is not flannel: whether it carries pods' packets is not asked, and its "
        "ports must be rows",
        see="docs/rows.md of k3sfw",
    )


def moved(process: str, port: int, row: Row) -> Problem:
    return Problem(
        f"{process} listens on tcp/{port}, which no row opens, and not on {_ports(row)}, which row "
        f"{row.name} opens",
        _in_site(row.table, row.name, {"port": port}),
    )


def listens_without_a_row(process: str, ports: tuple[int, ...]) -> Problem:
    return Problem(
        f"{process} listens on tcp/{','.join(map(str, ports))}, which no row opens to other hosts",
        "if others need it, let a row of k3s:ports open it; else bind it to 127.0.0.1 in K3s's "
        "configuration",
    )


def service_without_a_row(each: Listener, name: str, what: str, source: str) -> Problem:
    columns = {
        "protocol": "tcp",
        "port": each.port,
        "source": source,
        "destination": "server",
        "description": what,
    }
    return Problem(
        f"{each.process} listens on tcp/{each.port} ({what}), which no row opens to other hosts",
        _in_site(_CLUSTER, name, columns),
    )


def registry_on_agent(process: str, rows: Mapping[int, tuple[str, str]]) -> Problem:
    """The embedded registry on an agent.

    rows
        For each port, the table and the name of the row that opens it on servers.
    """
    tables: dict[str, dict[str, object]] = {}
    for port, (table, name) in rows.items():
        columns = {"protocol": "tcp", "port": port, "source": "any", "destination": "any"}
        tables.setdefault(table, {})[name] = columns
    return Problem(
        f"{process} listens on tcp/{','.join(map(str, rows))}, as with K3s's embedded registry: "
        "all nodes need these ports of each other, and rows open them at most on servers",
        suggested_commands.write_into_site("ports", value=tables),
    )


def no_etcd(row: Row, datastore: Datastore) -> Problem:
    line = _in_site(row.table, row.name, {"enabled": False})
    if datastore is Datastore.SQLITE:
        return Problem(
            f"row {row.name} opens {_ports(row)}, but this server keeps its state in SQLite and "
            "runs no etcd",
            line,
        )
    return Problem(
        f"row {row.name} opens {_ports(row)}, but this server runs no etcd and has none on disk",
        f"if no server of the cluster runs etcd because its datastore is external, {line}",
    )


_CLUSTER = "cluster"


def _in_site(table: str, name: str, columns: Mapping[str, object]) -> str:
    return suggested_commands.write_into_site("ports", table, name, value=columns)


def _ports(row: Row) -> str:
    return f"{row.protocol.value}/{','.join(map(str, row.ports))}"


# -- a row of this node ---------------------------------------------------------------------------


def not_in_force(node: str, lacking: Iterable[tuple[str, str]]) -> Problem:
    """Layers with what each of them lacks."""
    return Problem(
        "; ".join(f"{layer}: {what}" for layer, what in lacking),
        suggested_commands.apply_firewall(node),
    )


def kernel_not_read() -> Problem:
    return Problem(
        "in force at runtime and permanently; the kernel's rules are not nftables and were not "
        "read",
        see="docs/limits.md of k3sfw",
    )


def served_by_redirection(redirections: str) -> Problem:
    return Problem(f"in force in every layer; served by redirection ({redirections})")


def no_listener_here() -> Problem:
    return Problem(
        "in force in every layer, but nothing listens on this node",
        "start the service, or expect it to be served by another address (ServiceLB)",
    )


def in_force(listeners: str) -> Problem:
    return Problem(f"in force in every layer{f'; listening: {listeners}' if listeners else ''}")


def beyond_the_rows(node: str, layer: str, title: str, setting: str, extra: str) -> Problem:
    return Problem(
        f"{layer}: {title} has {setting} that no row asks for: {extra}",
        suggested_commands.apply_firewall(node),
    )


# -- promises -------------------------------------------------------------------------------------


def test_title(name: str) -> str:
    """What the check of a promise is called."""
    return f"test {name}"


def promise_in_short(
    value: PromiseValue, packets: int, problems: Sequence[Problem], by: str
) -> str:
    """What is known of a promise, in a line: by how many packets, or why it is not kept."""
    if value is not PromiseValue.KEPT:
        return f"{value.value}: {problems[0]}" if problems else value.value
    if not packets:
        return f"kept by {by}, not asked"
    return f"kept ({packets} packet{'s' if packets > 1 else ''})"


def denied_and_opened(ports: str, node: str, opened: Sequence[str]) -> Problem:
    """What lets in what a promise denies, although no row does."""
    text = f"{ports} of {node} may be reached by {join_some(opened)}; no row lets it in"
    return Problem(text, see="k3sfw.check_zones")


def broken_by_packets(contrary: Sequence[Check]) -> Problem:
    """What broke a promise that the tables may keep."""
    asked = [f"{each.protocol}/{each.port} of {each.to}" for each in contrary]
    first = contrary[0]
    state = "open" if first.expect == "closed" else "closed"
    text = f"{join_some(dict.fromkeys(asked))} answered {first.source} as {state}"
    return Problem(text, first.fix, first.see)
