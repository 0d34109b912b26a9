"""
The host firewall of a K3s cluster, from port tables in pillar.

:depends: netaddr, jeepney and psutil in the Python that runs the minion
:platform: Linux with firewalld 0.9 or newer

The tables stand in pillar below ``k3s``; the role of the node is the grain ``k3s_role``. Grains are
set by the minion itself: where an agent must not be able to claim that it is a server, pin its role
by minion id in pillar (``k3s:nodes:ID:role``).
"""

import os
import sys
import time
from pathlib import Path

try:
    import netaddr

    from k3sfw_engine.checks import report as _report
    from k3sfw_engine.checks.ports.questions_to_peers import Filter as _Filter
    from k3sfw_engine.checks.routes import route_check as _route_check
    from k3sfw_engine.checks.zones import zone_check as _zone_check
    from k3sfw_engine.commands import (
        adopt as _adopt,
        apply as _apply,
        check_ports as _check_ports,
        check_routes as _check_routes,
        check_zones as _check_zones,
        confirm as _confirm,
        explain as _explain,
        firewall_cmd_script as _firewall_cmd_script,
        heal as _heal,
        history as _history,
        prepare as _prepare,
        remove as _remove,
        rollback as _rollback,
    )
    from k3sfw_engine.errors import BadTables, EngineError, Undone
    from k3sfw_engine.host import dns as _dns
    from k3sfw_engine.model.difference import as_changes
    from k3sfw_engine.model.rows import PortRange, Protocol, Role
    from k3sfw_engine.model.rule_matches_packet import Packet
    from k3sfw_engine.plan.desired import compute as _desired
    from k3sfw_engine.plan.observed import LAYERS
    from k3sfw_engine.port_tables import read_pillar as _read_pillar
    from k3sfw_engine.transaction import compare as _compare
    from k3sfw_engine.transaction.checkpoint import CommitOptions
    from k3sfw_engine.transaction.still_reachable import Proof

    _FAILURE = None
except Exception as error:  # Where files are missing, or are of another version, any kind of.
    _FAILURE = error

import salt.channel.client
import salt.payload
import salt.pillar
from salt.exceptions import (
    CommandExecutionError,
    SaltClientError,
    SaltException,
    SaltInvocationError,
)

__version__ = "0.2.0"
__virtualname__ = "k3sfw"


def __virtual__():
    """
    Load where the engine is complete and of the same version, and the packages that it imports
    are installed.
    """
    engine = sys.modules.get("k3sfw_engine")
    version = getattr(engine, "__version__", None)
    # First: an engine of another version lacks much of what is imported here, too.
    if version not in (None, __version__):
        return (
            False,
            f"k3sfw: this module is {__version__} and its engine is {version} "
            f"({engine.__file__}). Fix: run saltutil.sync_all, remove the copy that is not "
            "wanted, and restart the minion",
        )
    if _FAILURE is None:
        return __virtualname__
    # The package that cannot be imported; any other failure is one of the engine.
    package = (isinstance(_FAILURE, ImportError) and _FAILURE.name or "").partition(".")[0]
    if package not in ("", "k3sfw_engine"):
        return (
            False,
            f"k3sfw: the Python package {package} is missing in {sys.executable}. Fix: run "
            f"state.apply k3s.requirements, or salt-call pip.install {package} "
            f"bin_env={sys.executable}",
        )
    return (
        False,
        f"k3sfw: its engine is not complete on this minion ({_FAILURE}). Fix: run salt-run "
        "fileserver.clear_file_list_cache on the master, then saltutil.sync_all; or install the "
        f"Python package k3sfw into {sys.executable}",
    )


def role():
    """
    The role of this node: the grain ``k3s_role``, which pillar must not contradict.

    Returns ``server`` or ``agent``. Raises ``CommandExecutionError`` if there is none, or if pillar
    pins another one.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.role
    """
    return _node_tables()[1].value


def nodes():
    """
    The nodes of the cluster as this node knows them.

    Returns ``{minion id: {role: server|agent, addresses: [...]}}``, with ``pod_cidrs`` where they
    are known: the networks of the node's pods, by which nothing is opened.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.nodes
    """
    return {
        node.name: {
            "role": node.role.value,
            "addresses": [str(address) for address in node.addresses],
            **({"pod_cidrs": list(map(str, node.pod_cidrs))} if node.pod_cidrs else {}),
        }
        for node in _node_tables()[0].nodes
    }


def rows():
    """
    The rows of both tables that open this node.

    Returns a list of maps with ``table``, ``name``, ``protocol``, ``port``, ``source``,
    ``destination`` and ``description``, all texts; the port of a row without one is empty.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.rows --out=json
    """
    parsed, own_role = _node_tables()
    return [
        {
            "table": row.table,
            "name": row.name,
            "protocol": row.protocol.value,
            "port": ",".join(map(str, row.ports)),
            "source": ",".join(map(str, row.sources)),
            "destination": row.destination.value,
            "description": row.description,
        }
        for row in parsed.rows_of(own_role)
    ]


def plan():
    """
    What an apply would change, and how; nothing is touched.

    Returns ``{changes: {layer: {object: {setting: {old, new}}}}, steps: [...], reloads: [...],
    notices: [...]}``. Of a setting that is a list, ``old`` has what goes and ``new`` what comes.
    ``reloads`` gives the reason if firewalld must be reloaded.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.plan
    """
    found, _observed = _engine(_compare.compare, *_node_tables())
    return {
        "changes": as_changes(found.differences),
        "steps": [str(step) for step in found.steps],
        "reloads": list(found.reloads),
        "notices": list(found.notices),
    }


def apply(test=None, refresh=True, confirm=None, within=600):
    """
    Make firewalld have exactly the rules of the tables, at runtime and permanently.

    It is a transaction. What changes must prove itself: the kernel has just the rules that are
    wanted, and the master takes a new connection and answers over it, if it did before. Only then
    it becomes permanent. Otherwise, or if this run dies or freezes, all of it is undone, by a
    watchdog if need be.

    test
        ``True`` only tells what would change. The default is the minion's ``test`` setting.

    refresh
        ``False`` takes the pillar that the minion holds in memory. By default it is compiled anew,
        as the nodes of the cluster may have changed since.

    confirm
        ``manual`` leaves the change at runtime only, until :py:func:`confirm` makes it permanent.

    within
        The seconds after which a change that nobody confirmed is undone, from 10 on (default 600).

    Returns ``{result, changes, comment, reloads, notices}``: ``result`` is ``True``, or ``None`` if
    something would change; ``changes`` as in :py:func:`plan`. ``result`` is ``False``, and the
    return code 1, if the change was undone; ``changes`` is then ``{undone: {...}}``. Raises
    ``CommandExecutionError`` with every reason, before anything is touched, if the tables are
    refused or firewalld cannot be used.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.apply test=True
        salt s1 k3sfw.apply confirm=manual within=300
    """
    dry = _is_test(test)
    terms = _terms("apply", _seconds(confirm, within))
    return _change(dry, _apply.apply, *_node_tables(refresh), terms=terms)


def confirm():
    """
    Keep the change that :py:func:`apply` made with ``confirm=manual``: make it permanent.

    The master must still take a new connection and answer over it, if it did before the change.

    Returns as :py:func:`apply`. Raises ``CommandExecutionError`` if no change waits, or if it would
    not prove itself; then it goes on waiting.

    CLI Example:

    .. code-block:: bash

        salt s1 k3sfw.confirm
    """
    return _outcome(_engine(_confirm.confirm, _proof()), False)


def rollback(to=None, test=None, allow_lockout=False):
    """
    Have this node's objects as they were before a change: the last one that was kept, or the one
    that waits to be confirmed, or has not ended otherwise. It is a change like any other, proven or
    undone.

    What pillar says comes back with the next apply, the scheduled one too: correct it.

    to
        The change before which to go back, by its ``id`` in :py:func:`history`.

    test
        ``True`` only tells what would change. The default is the minion's ``test`` setting.

    allow_lockout
        ``True`` goes back also where that closes a live connection of ssh, etcd, the API server or
        Salt's master. Pillar is not asked: it may be what is broken.

    Returns and raises as :py:func:`apply`.

    CLI Example:

    .. code-block:: bash

        salt s1 k3sfw.rollback test=True
        salt s1 k3sfw.rollback
    """
    dry = _is_test(test)
    terms = _terms("rollback")
    return _change(dry, _rollback.rollback, to, terms=terms, allow_lockout=bool(allow_lockout))


def history(limit=20):
    """
    What k3sfw changed on this node, the newest first.

    limit
        How many changes at most; a node keeps 20.

    Returns a list of maps with ``id``, ``at`` (when it began), ``what`` (the function), ``job``
    (Salt's job id, empty where there was none), ``outcome`` (``kept``, ``undone by the`` run,
    watchdog, next run, boot or rollback, ``waits to be confirmed``, ``under way``,
    ``broken off``), ``changes`` as in :py:func:`plan` and ``reloads``.

    CLI Example:

    .. code-block:: bash

        salt s1 k3sfw.history limit=3
    """
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise SaltInvocationError(f"limit={limit!r} is no number of changes. Fix: give one")
    return _engine(_history.history)[:limit]


def prepare(test=None, refresh=True):
    """
    Write the rules into the permanent configuration while firewalld does not run, so that its start
    on a live node closes nothing that the tables open, and does not cut the minion off its master.

    A firewall that starts has seen none of the connections that stand, so the master's next packet
    on an idle one is new to it (salt issue 49519). A policy lets such packets of the configured
    masters in. Where firewalld runs already, nothing is done.

    test, refresh
        As for :py:func:`apply`.

    Returns and raises as :py:func:`apply`.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.prepare
    """
    dry = _is_test(test)
    return _outcome(
        _engine(
            _prepare.prepare,
            *_node_tables(refresh),
            masters=_masters(),
            master_ports=_master_ports(),
            test=dry,
        ),
        dry,
    )


def remove(test=None):
    """
    Take every object that k3sfw made out of firewalld, and nothing else.

    It needs no tables, so it also works on a node whose pillar is gone.

    test
        ``True`` only tells what would change. The default is the minion's ``test`` setting.

    Returns and raises as :py:func:`apply`.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.remove
    """
    return _change(_is_test(test), _remove.remove, terms=_terms("remove"))


def heal(test=None):
    """
    Mend what somebody's death or a full disk left of the firewall, as far as it is ours: the table
    of a reload in which firewalld was killed, which drops every new connection though firewalld
    says that it runs; a file of ours that cannot be read, or because of which firewalld runs on
    stock rules.

    A panic is never lifted, and a firewalld that does not run is never started. What is not ours is
    told in ``notices``, with what mends it, and not touched.

    It needs no tables and no master, as a host that is cut off has no way to it. The schedule runs
    it every few minutes. What was mended is also sent to the master by the event ``k3sfw/healed``.

    test
        ``True`` only tells what would be mended. The default is the minion's ``test`` setting.

    Returns as :py:func:`apply`. Raises ``CommandExecutionError`` if something of ours could not be
    mended.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.heal test=True
    """
    dry = _is_test(test)
    outcome = _engine(_heal.heal, test=dry)
    sentences = [*outcome.meaning, *outcome.notices]
    result = {
        **_outcome(outcome, dry),
        "comment": "\n".join(sentences) or "nothing was found that needs to be mended",
    }
    if outcome.changes and not dry and __opts__.get("file_client") != "local":
        __salt__["event.fire_master"](result, "k3sfw/healed")
    return result


def adopt(test=None, zone=None, refresh=True):
    """
    Take over from the script of the document that the tables are from: close the ports and the two
    networks that it opened to everybody, as far as rows of the tables open them to those who need
    them.

    Whoever used such a port and is no source of its row loses it; the comment tells who keeps
    what. Of the script that which no enabled row covers stays, and is named in ``notices`` with
    what closes it. Rows of the other role count too: a server's port that is open on an agent is
    closed there. Nothing else is touched: no service, no other port or rule, no other zone, and
    never a port of ssh (22, or where sshd is) or of Salt's master. firewalld is not reloaded.

    It is done at runtime and permanently, only where our own rules are in force in every layer,
    the kernel too, and all nodes are known. If anything fails in between, all is put back.

    test
        ``True`` only tells what would change. The default is the minion's ``test`` setting.

    zone
        The zone that the script added to; by default firewalld's default zone, as for the script.

    refresh
        As for :py:func:`apply`. With ``False`` the rows of the other role are not known, and what
        only they could cover stays.

    Returns ``{result, changes, comment, reloads, notices}`` as :py:func:`apply`; ``changes`` are
    ``{layer: {"zone NAME": {ports: {old, new}, rich_rules: {old, new}}}}``. Raises
    ``CommandExecutionError`` with every reason if our own rules are not proven to be in force, if
    there is no such zone, or if firewalld refuses.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.adopt test=True
        salt '*' k3sfw.adopt
        salt s1 k3sfw.adopt zone=internal test=True
    """
    dry = _is_test(test)
    return _change(
        dry,
        _adopt.adopt,
        *_node_tables(refresh, peer_ports=True),
        node=__opts__["id"],
        zone=None if zone is None else str(zone),
        master_ports=_master_ports(),
        terms=_terms("adopt"),
    )


def status():
    """
    Whether runtime, permanent configuration and kernel are in step with the tables.

    Returns ``{in_step: bool, role, rows: int, nodes: int, runtime: {...}, permanent: {...},
    kernel: {...}, notices: [...]}``; each layer has ``in_step`` and the ``differences``. The return
    code is 0 if all are in step, else 2.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.status
    """
    parsed, own_role = _node_tables()
    found, observed = _engine(_compare.compare, parsed, own_role)
    changes = as_changes(found.differences)
    layers = {
        layer: {
            "in_step": layer not in changes,
            "differences": changes.get(layer, {}),
        }
        for layer in LAYERS
    }
    if observed.kernel is None:
        layers["kernel"]["in_step"] = None
    if changes:
        __context__["retcode"] = _report.RETCODES["FAIL"]
    return {
        "in_step": not changes,
        "role": own_role.value,
        "rows": len(parsed.rows_of(own_role)),
        "nodes": len(parsed.nodes),
        **layers,
        "notices": list(found.notices),
    }


def explain(source, port=None, protocol="tcp"):
    """
    Which row lets a packet to this node in, and by which rule.

    source
        The address that it comes from.

    port
        The port of this node that it goes to; none with protocol ``any``.

    protocol
        ``tcp`` (default), ``udp``, ``sctp`` or ``any``.

    Returns ``{verdict, source, rows: [...], accepted_by: [...]}``. The verdict is ``open`` if a row
    lets it in; ``not in the tables`` if none does: then the firewalld zone of the interface that it
    comes in by decides, and those are the operator's own.

    CLI Example:

    .. code-block:: bash

        salt s1 k3sfw.explain source=192.0.2.21 port=2379
    """
    try:
        question = Packet(
            netaddr.IPAddress(source, flags=netaddr.INET_PTON),
            Protocol(str(protocol).lower()),
            None if port is None else int(port),
        )
        if question.protocol is not Protocol.ANY and question.port not in range(1, 65536):
            raise ValueError("there is no such port")
    except (netaddr.AddrFormatError, TypeError, ValueError) as error:
        raise SaltInvocationError(
            f"source={source!r} port={port!r} protocol={protocol!r}: {error}. Fix: give one "
            "address, a port from 1 to 65535 and tcp, udp, sctp or any"
        ) from error
    parsed, own_role = _node_tables()
    found = _explain.explain(question, parsed, _desired.compute_desired(parsed, own_role))
    return {
        "verdict": "open" if found.rows else "not in the tables",
        "source": list(found.who) or ["nobody whom the tables know"],
        "rows": [f"{row.path}: {row.description}" for row in found.rows],
        "accepted_by": list(found.accepted_by)
        or ["no rule of k3sfw; the zone of the interface that it comes in by decides"],
    }


def script():
    """
    The rules of this node as plain ``firewall-cmd`` lines, for people and for auditors.

    On a host that has none of the objects yet, running it gives what :py:func:`apply` gives.

    Returns the text of a shell script.

    CLI Example:

    .. code-block:: bash

        salt s1 k3sfw.script --out=newline_values_only
    """
    return _firewall_cmd_script.firewall_cmd_script(
        _desired.compute_desired(*_node_tables()).objects
    )


def check_ports(full=False, peers=8, to=None, port=None, **kwargs):
    """
    Prove the tables: every row of this node in every layer, who listens, and packets to its peers
    over new connections, of what must pass and of what must not.

    full
        ``True`` adds ``checks``: one flat map for every question, with ``from``, ``to``,
        ``address``, ``protocol``, ``port``, ``description``, ``expect`` (open or closed),
        ``status``, ``by``, ``evidence`` and ``hint``.

    peers
        How many peers to ask, others every minute (default 8); ``all`` for every one.

    from
        Only packets from this minion id, or from any of a list; others send none.

    to
        Only rows of this minion id, or of any of a list, and packets to it.

    port
        Only this port: ``2379``, ``2379-2380`` or ``udp/8472``.

    Returns ``{status, summary, problems, counts}``, the worst first. Statuses of questions: ``ok``,
    ``blocked``, ``exposed`` (should be closed and is open), ``no_listener``, ``no_answer``,
    ``unproven``, ``host_down``, ``no_route``, ``local_block`` and ``error``. Return codes: 0 OK,
    1 WARN, 2 FAIL, 3 could not check, 4 bad tables. Raises ``SaltInvocationError`` for a question
    that cannot be read, or that names an unknown minion.

    It never binds a port, asks new connections only, and leaves nothing behind. It takes a second
    where peers answer, and up to eight where they are silent. A peer that rejects much takes a
    second for each rejection: the kernel sends no more ICMP errors than that.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.check_ports
        salt '*' k3sfw.check_ports peers=all
        salt '*' k3sfw.check_ports from=a1 to=s1 port=2379 full=True --out=json
    """
    unknown = sorted(name for name in kwargs if name != "from" and not name.startswith("__"))
    if unknown:
        raise SaltInvocationError(
            f"check_ports has no argument {', '.join(unknown)}. Fix: full, peers, from, to, port"
        )
    count, minions, span = _count(peers), (_names(kwargs.get("from")), _names(to)), _port(port)
    try:
        parsed, own_role = _parse(peer_ports=True)
        narrow = _Filter(*_of_cluster(parsed, *minions), *span)
        found = _check_ports.inspect_ports(
            parsed,
            own_role,
            __opts__["id"],
            count=count,
            narrow=narrow,
            turn=int(time.time() // 60),
        )
    except EngineError as error:
        return _could_not_check(error)
    result = _report.report(found.checks, scope=found.scope, full=full)
    result["problems"] += found.notices
    __context__["retcode"] = _report.RETCODES[result["status"]]
    return result


def check_routes(full=False, to=None, refresh=True):
    """
    Whether every packet of the cluster finds its way from this node, and with an address that
    peers let in: routes to nodes, pods, services and clients, what lies below them, the settings
    that forwarding needs, MTU, and who else rules over packets here.

    full
        ``True`` adds ``checks``: one flat map for every question, with ``from``, ``to``,
        ``address``, ``protocol``, ``port``, ``description``, ``expect``, ``status``, ``by``,
        ``evidence`` and ``hint``.

    to
        Only the way to this minion id, or to any of a list. The default is all of them.

    refresh
        As for :py:func:`apply`.

    Nothing is changed. To each peer two echoes are sent, the second as large as the largest packet
    of the overlay and not to be fragmented.

    Returns ``{status, summary, problems, counts}``, the worst first. Return codes: 0 OK, 1 WARN,
    2 FAIL, 3 could not check, 4 bad tables.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.check_routes
        salt s1 k3sfw.check_routes to=s2 full=True --out=json
    """
    wanted = _names(to)
    try:
        parsed, _own_role = _parse(refresh)
        (targets,) = _of_cluster(parsed, wanted)
        others = {node.name for node in parsed.nodes} - {__opts__["id"]}
        peers = others & targets if targets else others
        situation, paths = _check_routes.observe_routes(parsed, __opts__["id"], peers)
    except EngineError as error:
        return _could_not_check(error)
    checks = _route_check.judge_routes(situation, paths)
    result = _report.report(checks, scope=f"{len(peers)} of {len(others)} peers", full=full)
    __context__["retcode"] = _report.RETCODES[result["status"]]
    return result


def check_zones(full=False, refresh=True):
    """
    Every interface of this node and its zone, and what stands against the rows: pods in a zone that
    is not theirs, a zone's source that catches traffic of the cluster, a zone that lets in more
    than the tables do, interfaces that pods left in a zone, and what Kubernetes redirects past
    every rule of the host.

    full
        ``True`` adds ``checks``: one flat map for every question, with ``from``, ``to``,
        ``address``, ``protocol``, ``port``, ``description``, ``expect``, ``status``, ``by``,
        ``evidence`` and ``hint``.

    refresh
        As for :py:func:`apply`. With ``False`` zones are compared with the rows of this node alone:
        those of the other role are not kept.

    Nothing is changed.

    Returns ``{status, summary, problems, counts, interfaces}``, the worst first. ``interfaces`` is
    ``{name: {runtime, permanent, network_manager, meaning}}``: the zone that decides, the zone in
    the permanent configuration (empty if it is in none), what NetworkManager says (empty where it
    does not run), and what that means. Interfaces of pods that are alike share a line; loopback,
    which firewalld lets through, has none. Return codes: 0 OK, 1 WARN, 2 FAIL, 3 could not check,
    4 bad tables.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.check_zones
        salt s1 k3sfw.check_zones full=True --out=json
    """
    try:
        parsed, _own_role = _parse(refresh, peer_ports=True)
        situation, found = _check_zones.observe_zones(parsed, __opts__["id"])
    except EngineError as error:
        return _could_not_check(error)
    interfaces = _zone_check.interfaces(situation, found)
    checks = _zone_check.judge_zones(situation, found, _master_addresses())
    scope = f"{len(situation.network.interfaces) - 1} interfaces, {len(found.zones)} zones in use"
    result = _report.report(checks, scope=scope, full=full)
    __context__["retcode"] = _report.RETCODES[result["status"]]
    return {**result, "interfaces": interfaces}


def _could_not_check(error):
    bad_tables = isinstance(error, BadTables)
    __context__["retcode"] = 4 if bad_tables else _report.RETCODES["UNKNOWN"]
    return {
        "status": "UNKNOWN",
        "summary": "the tables were refused" if bad_tables else "nothing could be checked",
        "problems": list(error.sentences),
        "counts": {},
    }


def _count(peers):
    if str(peers).lower() == "all":
        return None
    if isinstance(peers, int) and not isinstance(peers, bool) and peers >= 0:
        return peers
    raise SaltInvocationError(f"peers={peers!r} is no number of peers. Fix: give one, or all")


def _names(minions):
    """A minion id, several with commas between them, or a list of them."""
    if minions is None:
        return frozenset()
    listed = minions.split(",") if isinstance(minions, str) else minions
    if not isinstance(listed, (list, tuple)):
        raise SaltInvocationError(f"{minions!r} is no minion id. Fix: give one, or a list of them")
    return frozenset(str(name).strip() for name in listed)


def _port(port):
    """``(protocol, ports)`` of ``2379``, ``2379-2380`` or ``udp/8472``."""
    if port is None:
        return None, None
    protocol, slash, span = str(port).rpartition("/")
    try:
        low, _dash, high = span.partition("-")
        ports = PortRange(int(low), int(high or low))
        if not 1 <= ports.low <= ports.high <= 65535:
            raise ValueError
        if slash and protocol.lower() not in ("tcp", "udp"):
            raise ValueError
        return Protocol(protocol.lower()) if slash else None, ports
    except ValueError as error:
        raise SaltInvocationError(
            f"port={port!r} is no port. Fix: give a port from 1 to 65535 such as 2379, 2379-2380 "
            "or udp/8472"
        ) from error


def _of_cluster(parsed, *minions):
    """The same names, or an error that tells which of them are no nodes of this cluster."""
    known = {node.name for node in parsed.nodes}
    strangers = sorted(frozenset().union(*minions) - known)
    if strangers:
        raise SaltInvocationError(
            f"{', '.join(strangers)}: no such node of this cluster. Fix: name one of "
            f"{', '.join(sorted(known))}"
        )
    return minions


def _is_test(test):
    return bool(__opts__.get("test", False)) if test is None else bool(test)


def _change(dry, function, *arguments, **options):
    """A change, and what is to be told of it, also if it was undone."""
    try:
        outcome = function(*arguments, test=dry, **options)
    except Undone as undone:
        __context__["retcode"] = 1
        return {
            "result": False,
            "changes": {"undone": undone.changes},
            "comment": "\n".join(undone.sentences),
            "reloads": [],
            "notices": [],
        }
    except EngineError as error:
        raise CommandExecutionError("\n".join(error.sentences)) from error
    return _outcome(outcome, dry)


def _seconds(confirm, within):
    """The seconds within which a person has to confirm; 0 if nobody needs to."""
    if confirm is None:
        return 0
    if confirm != "manual":
        raise SaltInvocationError(f"confirm={confirm!r} is not known. Fix: confirm=manual, or none")
    if not isinstance(within, int) or isinstance(within, bool) or not 10 <= within <= 86400:
        raise SaltInvocationError(
            f"within={within!r} is not from 10 to 86400 seconds. Fix: give one"
        )
    return within


def _terms(what, confirm_within=0):
    return CommitOptions(what=what, job=_job, proof=_proof(), confirm_within=confirm_within)


def _proof():
    ports = _master_ports()
    return Proof(
        masters=lambda: [(host, port) for host in _master_addresses() for port in ports],
        round_trip=_ask_master,
    )


def _ask_master():
    """Ask the master something over a new connection; a sentence if it does not answer."""
    try:
        with salt.channel.client.ReqChannel.factory(__opts__) as channel:
            channel.send({"cmd": "_file_envs"}, tries=2, timeout=8)
    except SaltException as error:
        return f"the master does not answer over a new connection any more ({error})"
    return ""


def _job():
    """The number of the job that this process works on; empty if it is none."""
    # Salt's own list of running jobs leaves this one out.
    for path in Path(__opts__["cachedir"], "proc").glob("*"):
        try:
            job = salt.payload.loads(path.read_bytes())
        except (OSError, SaltException):
            continue  # It has just ended, or is being written.
        if isinstance(job, dict) and job.get("pid") == os.getpid():
            return str(job.get("jid", ""))
    return ""


def _outcome(outcome, dry):
    return {
        "result": None if dry and outcome.changes else True,
        "changes": outcome.changes,
        "comment": outcome.comment(test=dry),
        "reloads": list(outcome.reloads),
        "notices": list(outcome.notices),
    }


def _node_tables(refresh=True, peer_ports=False):
    """The tables of this node and its role, or an error that names every fault."""
    return _engine(_parse, refresh, peer_ports)


def _parse(refresh=True, peer_ports=False):
    pillar = _pillar(refresh, peer_ports)
    if pillar.get("_errors"):
        raise EngineError(
            f"the pillar of {__opts__['id']} does not render: {error}. Fix: correct that file on "
            "the master"
            for error in pillar["_errors"]
        )
    own_role = __grains__.get("k3s_role")
    parsed = _read_pillar.parse_tables(
        _plain(pillar.get("k3s")), minion_id=__opts__["id"], role=own_role
    )
    return parsed, Role(own_role.lower())


def _pillar(refresh, peer_ports):
    """
    The pillar of this minion, compiled anew if wanted: what the minion holds in memory is as old as
    its last start or refresh, and nodes join and leave. A state run has just compiled it.

    With ``peer_ports`` it has what only nodes of the other role open, which the minion does not
    keep.
    """
    if not refresh:
        return __pillar__
    grains = __grains__.value()
    try:
        return salt.pillar.get_pillar(
            __opts__,
            {**grains, "k3sfw_asks_for_peer_ports": True} if peer_ports else grains,
            __opts__["id"],
            saltenv=__opts__.get("saltenv"),
            pillarenv=__opts__.get("pillarenv"),
        ).compile_pillar()
    except SaltClientError as error:
        raise EngineError(
            [
                f"the pillar of {__opts__['id']} cannot be fetched from its master ({error}). "
                "Fix: see that the master answers (salt-call test.ping)"
            ]
        ) from error


def _engine(function, *arguments, **options):
    """Call the engine; what it refuses becomes Salt's error."""
    try:
        return function(*arguments, **options)
    except EngineError as error:
        raise CommandExecutionError("\n".join(error.sentences)) from error


def _masters():
    """What the minion's configuration says about its masters; none where it has no master."""
    if __opts__.get("file_client") == "local":
        return []
    configured = __opts__.get("master_ip") or __opts__.get("master") or []
    return [configured] if isinstance(configured, str) else list(configured)


def _master_addresses():
    """The masters' addresses, as far as they are known."""
    try:
        return _dns.resolve_masters(_masters())
    except EngineError:
        return ()


def _master_ports():
    """The ports of a master: of publications and of returns."""
    return [__opts__.get("publish_port", 4505), __opts__.get("master_port", 4506)]


def _plain(value):
    """
    Copy pillar to plain types: since Salt 3008 it is made of types that mask what they hold when
    they are printed (salt issue 69599).
    """
    if hasattr(value, "items"):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value
