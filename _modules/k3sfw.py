"""
The host firewall of a K3s cluster, from port tables in pillar.

:depends: netaddr, jeepney and psutil in the Python that runs the minion
:platform: Linux with firewalld 0.9 or newer

The tables are in pillar below ``k3s``, and the role of the node is the grain ``k3s_role``. A minion
sets its grains itself. If an agent must not be able to claim that it is a server, pin its role by
minion id in pillar (``k3s:nodes:ID:role``).
"""

import math
import os
import sys
import time
from pathlib import Path

# Salt's loader offers every public function of this module, so whatever is imported here has a name
# that begins with an underscore, or is a class.
try:
    from dataclasses import replace as _replace

    from k3sfw_engine.checks.ports.questions_to_peers import Filter as _Filter
    from k3sfw_engine.commands import (
        adopt as _adopt,
        apply as _apply,
        ask as _ask,
        check as _check,
        check_ports as _check_ports,
        check_routes as _check_routes,
        check_zones as _check_zones,
        confirm as _confirm,
        explain as _explain,
        firewall_cmd_script as _firewall_cmd_script,
        heal as _heal,
        history as _history,
        in_force as _in_force,
        live_peers as _live_peers,
        metrics as _metrics,
        plan as _plan,
        prepare as _prepare,
        remove as _remove,
        rollback as _rollback,
        rows as _rows,
        status as _status,
    )
    from k3sfw_engine.errors import BrokenPromises, EngineError, Problem, Undone
    from k3sfw_engine.host import (
        dns as _dns,
        image as _image,
        proof_record as _proof_record,
    )
    from k3sfw_engine.model.protocol_names import parse_protocol as _parse_protocol
    from k3sfw_engine.model.rows import PortRange, Protocol, Role
    from k3sfw_engine.port_tables import (
        merge_pillar as _merge_pillar,
        read_metrics as _read_metrics,
        read_pillar as _read_pillar,
    )
    from k3sfw_engine.transaction.commit_options import CommitOptions
    from k3sfw_engine.transaction.still_reachable import Proof

    _FAILURE = None
except Exception as error:  # Any exception is possible if files are missing or outdated.
    _FAILURE = error

import salt.channel.client
import salt.config
import salt.loader
import salt.payload
import salt.pillar
from salt.exceptions import (
    CommandExecutionError,
    SaltClientError,
    SaltException,
    SaltInvocationError,
)

__version__ = "0.3.0.dev0"
__virtualname__ = "k3sfw"

# As in setup.cfg. Python 3.6 reads this file too.
_LOWEST_PYTHON = (3, 9)

# More packets than one call sends: each waits for its answer.
_MOST_PACKETS = 256
# What the grains of K3s are called. Others are not ours to compare.
_GRAINS = ("k3s_role", "k3s_cluster", "k3s_node_ips", "k3s_pod_cidrs", "k3s_doubts", "k3s_image")


def __virtual__():
    """
    Load only if Python is new enough, the engine is complete and of the same version, and the
    packages that it imports are installed.
    """
    if sys.version_info < _LOWEST_PYTHON:
        lowest, own = (".".join(map(str, each)) for each in (_LOWEST_PYTHON, sys.version_info[:3]))
        return (
            False,
            f"k3sfw: it needs Python {lowest} or newer, and {sys.executable}, which runs this "
            f"minion, is Python {own}. Fix: run the minion from the packages of the Salt Project, "
            "or SUSE's venv-salt-minion: they bring a Python of their own",
        )
    engine = sys.modules.get("k3sfw_engine")
    version = getattr(engine, "__version__", None)
    # First, because an engine of another version also lacks much of what is imported here.
    if version not in (None, __version__):
        return (
            False,
            f"k3sfw: this module is {__version__} and its engine is {version} "
            f"({engine.__file__}). Fix: run saltutil.sync_all, remove the copy that is not "
            "wanted, and restart the minion",
        )
    if _FAILURE is None:
        return __virtualname__
    # The package that cannot be imported; any other failure is the engine's.
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
        f"Python package saltext.k3sfw into {sys.executable}",
    )


def role():
    """
    Return the role of this node: the grain ``k3s_role``, which pillar must not contradict.

    Returns ``server`` or ``agent``. Raises ``CommandExecutionError`` if the node has no role, or if
    pillar pins another one.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.role
    """
    return _node_tables(image=True)[1].value


def nodes():
    """
    List the nodes of the cluster that this node knows.

    Returns ``{minion id: {role: server|agent, addresses: [...]}}``, with ``pod_cidrs`` if the
    networks of the node's pods are known; they open nothing. This node has ``doubts`` too if its
    grains found something that they could not read or that contradicts itself.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.nodes
    """
    return {
        node.name: {
            "role": node.role.value,
            "addresses": [str(address) for address in node.addresses],
            **({"pod_cidrs": list(map(str, node.pod_cidrs))} if node.pod_cidrs else {}),
            **({"doubts": _doubts()} if _doubts() and node.name == __opts__["id"] else {}),
        }
        for node in _node_tables(image=True)[0].nodes
    }


def rows():
    """
    List the rows of both tables that apply to this node.

    Returns a list of maps with ``table``, ``name``, ``protocol``, ``port``, ``source``,
    ``destination``, ``description`` and ``served``, all strings; ``port`` is empty for a row
    without one. ``served`` is what on this node serves the row: the processes that listen, the
    tunnel of the kernel, the redirection of Kubernetes, or ``nothing here``; it is empty for a
    protocol without listeners.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.rows --out=json
    """
    return _engine(_rows.list_rows, *_node_tables(), __opts__["id"])


def plan():
    """
    Show what an apply would change, and how. Nothing is touched.

    Returns ``{changes: {layer: {object: {setting: {old, new}}}}, steps: [...], reloads: [...],
    notices: [...]}``. For a setting that is a list, ``old`` has the removed items and ``new`` the
    added ones. ``reloads`` gives the reason if firewalld must be reloaded.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.plan
    """
    return _engine(_plan.plan, *_node_tables(image=True))


def apply(test=None, refresh=True, confirm=None, within=600, allow_downgrade=False):
    """
    Apply the rules of the tables to firewalld, at runtime and permanently.

    An apply is a transaction. Before a change becomes permanent, it is proven: the kernel has
    exactly the planned rules, and the master answers over a new connection if it did before.
    Otherwise, or if this run dies or freezes, everything is undone, if need be by a watchdog.

    test
        ``True`` only reports what would change. The default is the minion's ``test`` setting.

    refresh
        ``False`` uses the pillar in the minion's memory. By default the pillar is compiled again,
        because the nodes of the cluster may have changed.

    If the role or the addresses of this node are no longer those in the grains, the grains are
    refreshed, which tells the master, and with it the peers.

    In an image (a chroot, or with ``SYSTEMD_OFFLINE=1``), in which no firewalld runs, the files
    alone are written, as :py:func:`prepare` does.

    confirm
        ``manual`` keeps the change runtime-only until :py:func:`confirm` makes it permanent.

    within
        The seconds after which an unconfirmed change is undone, 10 or more (default 600).

    allow_downgrade
        ``True`` applies also where a newer version of k3sfw made the rules of this node. Without it
        that is refused; once is enough.

    A change of the tables that breaks a promise (``k3s:tests``) is refused, unless
    ``k3s:firewall:allow_broken_tests`` is set. The last proven tables then stay in force and follow
    the nodes of today: if that changes anything, ``result`` is ``False``, the return code is 1, and
    ``changes`` has it. A promise that was broken before is only told:
    ``broken_promises`` then has the sentences that are among the ``notices``.

    Returns ``{result, changes, comment, reloads, notices}``: ``result`` is ``True``, or ``None`` if
    something would change; ``changes`` as in :py:func:`plan`. If the change was undone, ``result``
    is ``False``, the return code is 1, and ``changes`` is ``{undone: {...}}``. If the tables or the
    change are refused, or firewalld cannot be used, raises ``CommandExecutionError`` with every
    reason, before anything is touched.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.apply test=True
        salt s1 k3sfw.apply confirm=manual within=300
    """
    dry = _is_test(test)
    options = _commit_options("apply", _seconds(confirm, within))
    # First: what is old in the grains can be why the tables are refused.
    changed = _changed_grains()
    notices = [_refresh_grains(changed, dry)] if changed else []
    tables, own_role = _node_tables(refresh, image=True)
    tables = _replace(tables, notices=(*tables.notices, *notices))
    verb, masters = _apply.apply, {}
    if _image.is_image() and not options.confirm_within:
        verb, masters = _prepare.prepare, {"masters": (), "master_ports": ()}
    allowed = bool(allow_downgrade)
    return _change(dry, verb, tables, own_role, options=options, allow_downgrade=allowed, **masters)


def confirm():
    """
    Make the change permanent that :py:func:`apply` made with ``confirm=manual``.

    The master must still answer over a new connection, if it did before the change.

    Returns the same as :py:func:`apply`. Raises ``CommandExecutionError`` if no change waits for
    confirmation, or if the proof fails; the change then continues to wait.

    CLI Example:

    .. code-block:: bash

        salt s1 k3sfw.confirm
    """
    return _outcome(_engine(_confirm.confirm, _proof()), False)


def rollback(to=None, test=None, allow_lockout=False):
    """
    Restore this node's objects to their state before a change: the last one that was kept, or the
    one that waits for confirmation or is otherwise unfinished. A rollback is a change like any
    other: proven or undone.

    The next apply, even a scheduled one, brings back what pillar says: correct the pillar.

    to
        The ``id`` of a change in :py:func:`history`. The state before that change is restored.

    test
        ``True`` only reports what would change. The default is the minion's ``test`` setting.

    allow_lockout
        ``True`` rolls back even if that closes what the node or its cluster is lost without. The
        same setting in pillar is ignored, as pillar may be what is broken.

    Returns and raises the same as :py:func:`apply`.

    CLI Example:

    .. code-block:: bash

        salt s1 k3sfw.rollback test=True
        salt s1 k3sfw.rollback
    """
    dry = _is_test(test)
    options = _commit_options("rollback")
    return _change(dry, _rollback.rollback, to, options=options, allow_lockout=bool(allow_lockout))


def history(limit=20):
    """
    List what k3sfw changed on this node, newest first.

    limit
        The maximum number of changes; a node keeps 20.

    Returns a list of maps with ``id``, ``at`` (the time when it began), ``what`` (the function),
    ``job`` (Salt's job id, empty if there was none), ``outcome`` (``kept``, ``undone by the`` run,
    watchdog, next run, boot or rollback, ``waits to be confirmed``, ``under way``,
    ``broken off``), ``changes`` as in :py:func:`plan` and ``reloads``.

    CLI Example:

    .. code-block:: bash

        salt s1 k3sfw.history limit=3
    """
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise SaltInvocationError(
            f"limit={limit!r} is not a number of changes. Fix: give 0 or more"
        )
    return _engine(_history.history)[:limit]


def prepare(test=None, refresh=True):
    """
    Write the rules to the permanent configuration before firewalld starts, so that its first start
    on a live node closes nothing that the tables open, and keeps the minion connected.

    A firewall that starts has not seen the existing connections, so the master's next packet on an
    idle one looks new to it (salt issue 49519). A policy allows such packets from the configured
    masters. If firewalld is already running, nothing is done.

    What the start would close is refused if the node or its cluster is lost without it. Anything
    else that has peers, or waits for them, is listed in ``notices`` with a row that keeps it open.

    In an image (a chroot, or with ``SYSTEMD_OFFLINE=1``) nothing of the host that builds it counts:
    not its connections, its devices or its firewalld. The nodes of the cluster need not be known
    there. ``notices`` say how the files were validated.

    test, refresh
        As for :py:func:`apply`.

    Returns and raises the same as :py:func:`apply`.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.prepare
    """
    return _change(
        _is_test(test),
        _prepare.prepare,
        *_node_tables(refresh, image=True),
        masters=_masters(),
        master_ports=_master_ports(),
        options=_commit_options("prepare"),
    )


def remove(test=None):
    """
    Remove everything k3sfw created in firewalld, and nothing else.

    It needs no tables, so it also works on a node without pillar.

    test
        ``True`` only reports what would change. The default is the minion's ``test`` setting.

    Returns and raises the same as :py:func:`apply`.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.remove
    """
    return _change(_is_test(test), _remove.remove, options=_commit_options("remove"))


def heal(test=None):
    """
    Heal the damage that a killed firewalld or a full disk left, as far as k3sfw owns it: the
    leftover drop table of a reload in which firewalld was killed, which drops every new connection
    although firewalld reports that it is running; a file of ours that is unreadable, or that made
    firewalld fall back to its stock rules. The hostPorts of living pods, and so ServiceLB's, come
    back if a reload or restart of a firewalld before 2.0 flushed their rules.

    Panic mode is never lifted, and a stopped firewalld is never started. Damage that is not ours is
    reported in ``notices`` with its fix, and not touched.

    It needs no tables and no master, because a host that is cut off cannot reach it. The schedule
    runs it every few minutes. The event ``k3sfw/healed`` tells the master what was healed.

    test
        ``True`` only reports what would be healed. The default is the minion's ``test`` setting.

    Returns the same as :py:func:`apply`. Raises ``CommandExecutionError`` if damage to something of
    ours could not be healed.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.heal test=True
    """
    dry = _is_test(test)
    outcome = _engine(_heal.heal, test=dry)
    sentences = [*outcome.meaning, *outcome.notices]
    result = {
        **_outcome(outcome, dry),
        "comment": "\n".join(sentences) or "no damage was found",
    }
    if outcome.changes and not dry and __opts__.get("file_client") != "local":
        __salt__["event.fire_master"](result, "k3sfw/healed")
    return result


def adopt(test=None, zone=None, refresh=True):
    """
    Take over from the source document's script: close the ports and the two networks that the
    script opened to every source, if rows of the tables open them to the sources that need them.

    Clients that are not a source in the row lose access to the port; the comment says which sources
    keep access to what. What the script opened and no enabled row covers stays open, and is listed
    in ``notices`` with the command that closes it. Rows of the other role count too: a server's
    port that is open on an agent is closed there. Nothing else is touched: no service, no other
    port or rule, no other zone, and never a port of ssh (22, or the one of sshd) or of Salt's
    master. firewalld is not reloaded. Live peers that would be cut off are refused or listed, as by
    :py:func:`prepare`.

    It changes runtime and permanent configuration, and only if our own rules are in force in every
    layer, including the kernel, and all nodes are known. If a step fails, everything is undone.

    test
        ``True`` only reports what would change. The default is the minion's ``test`` setting.

    zone
        The zone that the script changed; by default firewalld's default zone, as for the script.

    refresh
        As for :py:func:`apply`. With ``False`` the rows of the other role are unknown, and what
        only they cover stays open.

    Returns ``{result, changes, comment, reloads, notices}`` as :py:func:`apply`; ``changes`` are
    ``{layer: {"zone NAME": {ports: {old, new}, rich_rules: {old, new}}}}``. Raises
    ``CommandExecutionError`` with every reason if our own rules are not proven to be in force, if
    the zone does not exist, or if firewalld refuses.

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
        options=_commit_options("adopt"),
    )


def status():
    """
    Report whether runtime, permanent configuration and kernel are in step with the tables.

    Returns ``{in_step: bool, role, rows: int, nodes: int, runtime: {...}, permanent: {...},
    kernel: {...}, notices: [...]}``; each layer has ``in_step`` and the ``differences``. The return
    code is 0 if all layers match, else 2.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.status
    """
    found = _engine(_status.status, *_node_tables())
    if not found["in_step"]:
        __context__["retcode"] = 2
    return found


def in_force(full=False, digests=False):
    """
    Show what is in force on this node: the last tables that were proven, and the rules and ipsets
    that firewalld has at runtime. Nothing is compiled, so it also works with a broken pillar.

    .. versionadded:: 0.3.0

    full
        ``True`` lists the entries of each ipset in place of their digest, and the interfaces of
        zone k3s.

    digests
        ``True`` returns only ``{digest, kept, in_force}``: of the tables, of the same as they are
        kept, and of the rules and ipsets.

    Returns ``{digest, tables, rules: [...], ipsets: {name: digest}}``. ``tables`` has the form of
    the pillar below ``k3s``; it is empty, and ``digest`` too, if no tables were proven here since
    the last removal or rollback.

    CLI Example:

    .. code-block:: bash

        salt s1 k3sfw.in_force full=True
    """
    return _engine(_in_force.in_force, full=bool(full), digests=bool(digests))


def connections():
    """
    List the live connections of peers to this node, and the peers whose packets it takes.

    .. versionadded:: 0.3.0

    Returns a list of maps with ``place`` (``tcp/6443``, or ``vrrp``), ``peer`` and ``process``, at
    most 2,000. :py:func:`k3sfw.diff` of the master asks for them where a change would close a port.

    CLI Example:

    .. code-block:: bash

        salt s1 k3sfw.connections --out=json
    """
    return _engine(_live_peers.live_peers)


def explain(source, port=None, protocol="tcp"):
    """
    Name the row and the rule that allow a packet to this node, and follow the packet through the
    host: destination NAT, policies before ours, rows, the kernel's rule, and the zone of the
    interface on which it would arrive.

    source
        The source address of the packet.

    port
        The destination port on this node; none with a protocol that has no ports.

    protocol
        ``tcp`` (default), ``udp``, ``sctp``, ``any``, or an IP protocol such as ``vrrp`` or 112.

    Returns ``{verdict, source, rows: [...], accepted_by: [...], decision, walk: [...]}``. The
    verdict is ``open`` if a row allows the packet, and ``not in the tables`` if none does: then the
    firewalld zone of the interface on which it arrives decides, and zones belong to the operator.
    ``walk`` has ``{at, fate, why}`` for each step; ``fate`` is ``goes on``, ``allowed``,
    ``rejected``, ``dropped``, ``redirected`` or ``not known``. ``decision`` is the first step at
    which the packet does not go on. Other firewalls on the host are the matter of
    :py:func:`check_routes`.

    CLI Example:

    .. code-block:: bash

        salt s1 k3sfw.explain source=192.0.2.21 port=2379
        salt s1 k3sfw.explain source=192.0.2.12 protocol=vrrp
    """
    try:
        packet = _explain.parse_packet(source, port, protocol)
    except ValueError as error:
        raise SaltInvocationError(
            f"source={source!r} port={port!r} protocol={protocol!r}: {error}. Fix: give one "
            "address, a port from 1 to 65535 and tcp, udp or sctp; or an IP protocol, or any, "
            "without a port"
        ) from error
    return _explain.explain_here(packet, *_node_tables(), __opts__["id"])


def ask(packets):
    """
    Send packets to named ports over new connections, and tell what came back. The host needs no
    tables and no K3s: ``salt-run k3sfw.check`` asks the minions of ``ask_from`` in ``k3s:tests``.

    .. versionadded:: 0.3.0

    packets
        A list of ports and addresses such as ``tcp/2379 192.0.2.11``, of TCP or UDP.

    Returns a list of maps in the same order, with ``packet``, ``result`` (``open``,
    ``nothing listens``, ``rejected``, ``silence`` and others), ``source``, the address from which
    it was sent, and ``evidence``.

    CLI Example:

    .. code-block:: bash

        salt jump1 k3sfw.ask '["tcp/2379 192.0.2.11", "udp/8472 192.0.2.11"]'
    """
    listed = packets if isinstance(packets, (list, tuple)) else [packets]
    try:
        parsed = _ask.parse_packets(listed[:_MOST_PACKETS])
    except ValueError as error:
        raise SaltInvocationError(
            f"packets={packets!r}: {error}. Fix: give a list such as '[\"tcp/2379 192.0.2.11\"]'"
        ) from error
    return _engine(_ask.ask, parsed)


def script():
    """
    Print the rules of this node as plain ``firewall-cmd`` lines, for operators and auditors.

    On a host without any of the objects, the script has the same effect as :py:func:`apply`.

    Returns the text of a shell script.

    CLI Example:

    .. code-block:: bash

        salt s1 k3sfw.script --out=newline_values_only
    """
    return _firewall_cmd_script.script(*_node_tables(image=True))


def check(peers=8):
    """
    Carry out the three checks of this node with one compiled pillar, and return what the master
    needs to see the whole cluster: ``salt-run k3sfw.check`` asks all nodes. A change that is under
    way on this node is waited for, up to ten seconds.

    .. versionadded:: 0.3.0

    peers
        As for :py:func:`check_ports`.

    Returns ``{format, node, at, took, role, version, tables, ports, routes, zones, asked, proofs,
    promises}``. ``ports``, ``routes`` and ``zones`` are ``{status, summary, counts, problems,
    notices, left_off}``, with up to 200 problems as flat maps; ``left_off`` counts the others.
    ``tables`` is a digest of what pillar says. ``asked`` has a character for each peer and row, and
    ``proofs`` when each peer was last asked, in seconds since 1970. Return codes: 0 OK, 1 WARN,
    2 FAIL, 3 could not check, 4 bad tables.

    CLI Example:

    .. code-block:: bash

        salt a1 k3sfw.check
    """
    count = _count(peers)
    ports, routes, zones = runs = (_Run("ports", count != 0), _Run("routes"), _Run("zones"))
    try:
        tables, own_role = _parse(peer_ports=True)
    except EngineError as error:
        for run in runs:
            run.end()
        return _could_not_check(error, runs)
    amid_change = _check.change_under_way()
    answer, __context__["retcode"] = _check.check(
        tables,
        own_role,
        __opts__["id"],
        {
            "ports": ports.of(lambda: _ports_report(tables, own_role, count), tables),
            "routes": routes.of(lambda: _check_routes.check_routes(tables, __opts__["id"])),
            "zones": zones.of(lambda: _zones_report(tables)[0]),
        },
        version=__version__,
        clock=time.time,
    )
    answer["ports"]["notices"] += [*amid_change, *_note_runs(runs)]
    return answer


def check_ports(full=False, peers=8, to=None, port=None, **kwargs):
    """
    Prove the tables: every row of this node in every layer, its listeners, and packets to its peers
    over new connections, both those that must pass and those that must not.

    full
        ``True`` adds ``checks``: one flat map for every question, with ``from``, ``to``,
        ``address``, ``protocol``, ``port``, ``description``, ``expect`` (open or closed),
        ``status``, ``by``, ``evidence`` and ``hint``.

    peers
        The number of peers to ask, different ones every minute (default 8), or ``all``.

    from
        Only packets from this minion id, or from a list of them; other nodes send none.

    to
        Only rows of this minion id, or of a list of them, and packets to these nodes.

    port
        Only this port, ``2379``, ``2379-2380`` or ``udp/8472``, or this IP protocol: ``vrrp``.

    Promises (``k3s:tests``) are asked as far as nodes can ask them: a node sends a packet if it is
    a source of the promise. ``promises`` then has a line for each: ``kept (12 packets)``, ``kept by
    the tables, not asked``, ``unproven``, ``not enforceable`` or ``broken``, with the reason.

    Returns ``{status, summary, problems, counts}``, the worst first, and ``promises`` if the tables
    have any. Statuses of questions: ``ok``, ``blocked``, ``exposed`` (open although it should be
    closed), ``no_listener``, ``no_answer``, ``unproven``, ``host_down``, ``no_route``,
    ``local_block`` and ``error``. Return codes: 0 OK, 1 WARN, 2 FAIL, 3 could not check, 4 bad
    tables. Raises ``SaltInvocationError`` for invalid arguments and unknown minions.

    It never binds a port, and uses new connections only. It leaves nothing behind but the time at
    which each peer was asked, in ``/var/lib/k3sfw/asked.json``. It takes a second if peers answer,
    two if they drop packets on some ports, and four if they are silent. A peer that rejects many
    ports takes one second per rejection, because its kernel rate-limits ICMP errors.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.check_ports
        salt '*' k3sfw.check_ports peers=all
        salt '*' k3sfw.check_ports from=a1 to=s1 port=2379 full=True --out=json
    """
    unknown = sorted(name for name in kwargs if name != "from" and not name.startswith("__"))
    if unknown:
        raise SaltInvocationError(
            f"check_ports has no argument {', '.join(unknown)}. Fix: use full, peers, "
            "from, to or port"
        )
    count, minions, ports = _count(peers), (_names(kwargs.get("from")), _names(to)), _port(port)
    run = _Run("ports", is_whole=not any((*minions, *ports)) and count != 0)
    try:
        tables, own_role = _parse(peer_ports=True)
        only = _Filter(*_of_cluster(tables, *minions), *ports)
        found = _ports_report(tables, own_role, count, only)
    except EngineError as error:
        return run.could_not_check(error)
    if not any(ports):
        peers = {node.name for node in tables.nodes}
        asked = _check.probed_peers(found.checks, __opts__["id"])
        _proofs, unwritten = _proof_record.note_proofs(asked, peers, int(time.time()))
        found = _replace(found, notices=(*found.notices, *map(str, unwritten)))
    return run.report(found, full, tables)


def _ports_report(tables, own_role, count, only=None):
    turn = int(time.time() // 60)
    return _check_ports.check_ports(
        tables, own_role, __opts__["id"], count=count, only=only or _Filter(), turn=turn
    )


def _zones_report(tables):
    return _check_zones.check_zones(tables, __opts__["id"], _master_addresses())


def check_routes(full=False, to=None, refresh=True):
    """
    Check that packets of the cluster find their way from this node, with a source address that
    peers allow: routes to nodes, pods, services and clients, the neighbour and forwarding entries
    below them, the sysctls that forwarding needs, the MTU, and what else filters packets here.

    full
        ``True`` adds ``checks``: one flat map for every question, with ``from``, ``to``,
        ``address``, ``protocol``, ``port``, ``description``, ``expect``, ``status``, ``by``,
        ``evidence`` and ``hint``.

    to
        Only routes to this minion id, or to a list of them. The default is all nodes.

    refresh
        As for :py:func:`apply`.

    Nothing is changed. Each peer is sent two echoes; the second is as large as the largest packet
    of the overlay and must not be fragmented.

    Returns ``{status, summary, problems, counts}``, the worst first. If one SLS, applied on this
    node, fixes every failure, ``fixed_by`` names it. Return codes: 0 OK, 1 WARN, 2 FAIL, 3 could
    not check, 4 bad tables.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.check_routes
        salt s1 k3sfw.check_routes to=s2 full=True --out=json
    """
    wanted = _names(to)
    run = _Run("routes", is_whole=not wanted)
    try:
        tables, _own_role = _parse(refresh)
        (peers,) = _of_cluster(tables, wanted)
        found = _check_routes.check_routes(tables, __opts__["id"], peers)
    except EngineError as error:
        return run.could_not_check(error)
    return run.report(found, full)


def check_zones(full=False, refresh=True):
    """
    List every interface of this node with its zone, and report what works against the rows: pods in
    a foreign zone, a source of a zone that catches cluster traffic, a zone that allows more than
    the tables do, stale interfaces of pods in a zone, and ports that Kubernetes redirects past
    every rule of the host.

    full
        ``True`` adds ``checks``: one flat map for every question, with ``from``, ``to``,
        ``address``, ``protocol``, ``port``, ``description``, ``expect``, ``status``, ``by``,
        ``evidence`` and ``hint``.

    refresh
        As for :py:func:`apply`. With ``False`` zones are compared with the rows of this node alone,
        because the minion does not keep those of the other role.

    Nothing is changed.

    Returns ``{status, summary, problems, counts, interfaces, zones}``, the worst first. ``zones``
    is ``{name: {runtime, permanent}}``: the target of each zone in use. ``default`` rejects, and
    ``DROP`` drops; empty where the zone does not exist or, at runtime, is not in use.

    ``interfaces`` is ``{name: {runtime, permanent, network_manager, meaning}}``: the zone in force,
    the zone in the permanent configuration (empty if there is none), the zone in NetworkManager
    (empty if it is not running), and what that means. Similar interfaces of pods share a line;
    loopback, which firewalld always accepts, has none. Return codes: 0 OK, 1 WARN, 2 FAIL, 3 could
    not check, 4 bad tables.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.check_zones
        salt s1 k3sfw.check_zones full=True --out=json
    """
    run = _Run("zones")
    try:
        tables, _own_role = _parse(refresh, peer_ports=True)
        found, listed = _zones_report(tables)
    except EngineError as error:
        return run.could_not_check(error)
    return {**run.report(found, full), **listed}


def metrics(test=None, refresh=True, remove=False):
    """
    Write the metrics of this node for Prometheus, if ``k3s:metrics:enabled`` in pillar is true, and
    remove them if it is false. From then on every check and every change of the firewall writes
    them anew, even a check that fails.

    .. versionadded:: 0.3.0

    The file lies in the folder ``k3s:metrics:path``, which node_exporter's textfile collector
    reads. It is replaced as a whole.

    test
        ``True`` only reports what would change. The default is the minion's ``test`` setting.

    refresh
        As for :py:func:`apply`.

    remove
        ``True`` removes the metrics whatever pillar says. It needs no pillar.

    Returns ``{result, changes, comment, metrics}``: ``result`` is as for :py:func:`apply`, or
    ``False`` if the file cannot be written; ``changes`` are ``{file: written|removed}`` if a file
    appears or disappears; ``metrics`` is the text. Raises ``CommandExecutionError`` if the settings
    are wrong.

    CLI Example:

    .. code-block:: bash

        salt s1 k3sfw.metrics
        salt s1 k3sfw.metrics test=True
    """
    dry = _is_test(test)
    if remove:
        found = _engine(_metrics.remove_metrics, test=dry)
    else:
        settings = _engine(lambda: _read_metrics.read_metrics(_tree(_pillar(refresh, False))))
        found = _engine(_metrics.write_metrics, settings, _metrics_node(), time.time(), test=dry)
    if found.problems:
        __context__["retcode"] = 1
    sentences = [*map(str, found.problems), *found.notices]
    return {
        "result": False if found.problems else None if dry and found.changes else True,
        "changes": dict(found.changes),
        "comment": "\n".join(sentences) or "the metrics are as k3s:metrics says",
        "metrics": found.text,
    }


def _metrics_node():
    grains = [str(__grains__.get(name) or "") for name in ("k3s_cluster", "k3s_role")]
    return _metrics.MetricsNode(__opts__["id"], *grains)


class _Run:
    """A run of a check as its metrics need it: when it began, how long it took, what it found."""

    def __init__(self, check, is_whole=True):
        self.check, self.is_whole, self.began = check, is_whole, time.time()
        self.took, self.found, self.tables = 0.0, None, None

    def of(self, function, tables=None):
        """The function, as a function that also makes this its run."""

        def run():
            self.began = time.time()
            try:
                self.found, self.tables = function(), tables
            finally:
                self.end()
            return self.found

        return run

    def end(self, found=None, tables=None):
        self.took = time.time() - self.began
        self.found, self.tables = found or self.found, tables or self.tables

    def report(self, found, full, tables=None):
        self.end(found, tables)
        __context__["retcode"] = found.retcode
        answer = found.as_dict(full=bool(full))
        return {**answer, "problems": [*answer["problems"], *_note_runs([self])]}

    def could_not_check(self, error):
        self.end()
        return _could_not_check(error, [self])


def _could_not_check(error, runs):
    __context__["retcode"] = error.retcode
    return {
        "status": "UNKNOWN",
        "summary": error.summary,
        "problems": [*error.sentences, *_note_runs(runs)],
        "counts": {},
    }


def _note_runs(runs=()):
    """Write the metrics, if they are switched on; return notices."""
    name = __opts__["id"]
    whole = [
        _metrics.check_run(run.check, run.began, run.took, run.found, run.tables, name)
        for run in runs
        if run.is_whole
    ]
    # What was asked of a part says nothing about the rest.
    if runs and not whole:
        return ()
    return _metrics.note_runs(whole, _metrics_node(), time.time())


def _count(peers):
    if str(peers).lower() == "all":
        return None
    if isinstance(peers, int) and not isinstance(peers, bool) and peers >= 0:
        return peers
    raise SaltInvocationError(f"peers={peers!r} is neither a number nor all. Fix: give one of them")


def _names(minions):
    """The minion ids in a string, separated by commas, or in a list."""
    if minions is None:
        return frozenset()
    listed = minions.split(",") if isinstance(minions, str) else minions
    if not isinstance(listed, (list, tuple)):
        raise SaltInvocationError(f"{minions!r} is not a minion id. Fix: give one, or a list")
    return frozenset(str(name).strip() for name in listed)


def _port(port):
    """The protocol and the ports of ``2379``, ``2379-2380``, ``udp/8472`` or ``vrrp``."""
    if port is None:
        return None, None
    protocol, slash, span = str(port).rpartition("/")
    try:
        if not slash and span[:1].isalpha():
            known = _parse_protocol(span)
            if not known.is_whole:
                raise ValueError
            return known, None
        low, _dash, high = span.partition("-")
        ports = PortRange(int(low), int(high or low))
        if not 1 <= ports.low <= ports.high <= 65535:
            raise ValueError
        if slash and protocol.lower() not in ("tcp", "udp"):
            raise ValueError
        return Protocol(protocol.lower()) if slash else None, ports
    except ValueError as error:
        raise SaltInvocationError(
            f"port={port!r} is not a port. Fix: give a port from 1 to 65535 such as 2379, "
            "2379-2380 or udp/8472, or an IP protocol such as vrrp"
        ) from error


def _of_cluster(parsed, *minions):
    """Return the names, or raise an error with those that are not nodes of this cluster."""
    known = {node.name for node in parsed.nodes}
    unknown = sorted(frozenset().union(*minions) - known)
    if unknown:
        raise SaltInvocationError(
            f"{', '.join(unknown)}: no such node in this cluster. Fix: name one of "
            f"{', '.join(sorted(known))}"
        )
    return minions


def _is_test(test):
    return bool(__opts__.get("test", False)) if test is None else bool(test)


def _change(dry, function, *arguments, **options):
    """Carry out a change, and return its result, also if it was undone."""
    try:
        outcome = function(*arguments, test=dry, **options)
    except Undone as undone:
        return _refused({"undone": undone.changes}, undone, False)
    except EngineError as error:
        if isinstance(error, BrokenPromises) and error.changes:
            return _refused(error.changes, error, dry)
        raise CommandExecutionError("\n".join(error.sentences)) from error
    return _outcome(outcome, dry)


def _refused(changes, error, dry):
    """The result of a change that failed, or was refused in part."""
    __context__["retcode"] = 1
    return {
        "result": False,
        "changes": changes,
        "comment": "\n".join(error.sentences),
        "reloads": [],
        "notices": [] if dry else list(_note_runs()),
    }


def _seconds(confirm, within):
    """Confirmation timeout in seconds; 0 disables confirmation."""
    if confirm is None:
        return 0
    if confirm != "manual":
        raise SaltInvocationError(
            f"confirm={confirm!r} is unknown. Fix: use confirm=manual, or omit it"
        )
    if not isinstance(within, int) or isinstance(within, bool) or not 10 <= within <= 86400:
        raise SaltInvocationError(
            f"within={within!r} is not from 10 to 86400 seconds. Fix: within=600"
        )
    return within


def _commit_options(what, confirm_within=0):
    return CommitOptions(what=what, job=_job, proof=_proof(), confirm_within=confirm_within)


def _proof():
    ports = _master_ports()
    return Proof(
        masters=lambda: [(host, port) for host in _master_addresses() for port in ports],
        round_trip=_ask_master,
    )


def _ask_master(seconds):
    """
    Send the master one request over a new connection; return the error, or an empty string.

    A request is not repeated: the first one still waits for a busy master.
    """
    try:
        with salt.channel.client.ReqChannel.factory(__opts__) as channel:
            channel.send({"cmd": "_file_envs"}, tries=1, timeout=math.ceil(seconds))
    except SaltException as error:
        return str(error) or type(error).__name__
    return ""


def _job():
    """The id of the job that this process runs; empty if there is none."""
    # Salt's own list of running jobs excludes the current one.
    for path in Path(__opts__["cachedir"], "proc").glob("*"):
        try:
            job = salt.payload.loads(path.read_bytes())
        except (OSError, SaltException):
            continue  # It has just ended, or is still being written.
        if isinstance(job, dict) and job.get("pid") == os.getpid():
            return str(job.get("jid", ""))
    return ""


def _outcome(outcome, dry):
    # The metrics tell of the last change and of one that waits, also of one that a watchdog undid.
    told = () if dry else _note_runs()
    broken = list(outcome.broken_promises)
    return {
        **({"broken_promises": broken} if broken else {}),
        "result": None if dry and outcome.changes else True,
        "changes": outcome.changes,
        "comment": outcome.comment(test=dry),
        "reloads": list(outcome.reloads),
        "notices": [*outcome.notices, *told],
    }


def _node_tables(refresh=True, peer_ports=False, image=False):
    """The tables and the role of this node, or an error with every fault."""
    return _engine(_parse, refresh, peer_ports, image)


def _parse(refresh=True, peer_ports=False, image=False):
    """With ``image`` the caller does what can be done in an image, too."""
    if not image:
        _image.refuse_in_image()
    pillar = _pillar(refresh, peer_ports)
    if pillar.get("_errors"):
        raise EngineError(
            Problem(
                f"the pillar of {__opts__['id']} does not render: {error}",
                "correct that file on the master",
            )
            for error in pillar["_errors"]
        )
    own_role = __grains__.get("k3s_role")
    parsed = _read_pillar.parse_tables(
        _tree(pillar),
        minion_id=__opts__["id"],
        role=own_role,
        several_masters=_has_several_masters(),
        image=_image.is_image(),
    )
    return _replace(parsed, notices=(*parsed.notices, *_doubts())), Role(own_role.lower())


def _tree(pillar):
    """What the pillar says below ``k3s``, as plain data."""
    sources = {
        key: _merge_pillar.to_plain(pillar[key]) for key in _merge_pillar.SOURCES if key in pillar
    }
    return _merge_pillar.merge_pillar(sources)


def _doubts():
    """What the grains of this node found doubtful."""
    doubts = __grains__.get("k3s_doubts")
    return [str(doubt) for doubt in doubts] if isinstance(doubts, (list, tuple)) else []


def _changed_grains():
    """
    The names of our grains that are not what the minion has in memory: those are as old as its
    start or the last refresh, and a lease can end at any time.
    """
    # In a job, opts["grains"] holds all grains, and the grains' own loader expects the configured
    # ones alone.
    configured = salt.config.minion_config(__opts__["conf_file"]).get("grains") or {}
    functions = salt.loader.grain_funcs({**__opts__, "grains": configured})
    now = functions["k3s.k3s"]() if "k3s.k3s" in functions else {}
    # None at all means that K3s is gone, or that they cannot be read: no reason to forget the node.
    return [name for name in _GRAINS if now and now.get(name) != __grains__.get(name)]


def _refresh_grains(changed, dry):
    """Let the minion read its grains again, and return what to tell the operator."""
    names = ", ".join(changed)
    if dry:
        return f"{names} changed on this node; without test=True the grains would be refreshed"
    # The minion compiles its pillar with the new grains, and the master keeps those it was sent.
    __salt__["saltutil.refresh_grains"]()
    return (
        f"{names} changed on this node: its grains are refreshed, and peers follow with the master"
    )


def _pillar(refresh, peer_ports):
    """
    The pillar of this minion, compiled again on request: the one in memory is as old as the last
    start or refresh, and nodes join and leave. A state run has just compiled it.

    With ``peer_ports`` it includes the rows of the other role, which the minion does not keep.
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
                Problem(
                    f"the pillar of {__opts__['id']} cannot be fetched from its master ({error})",
                    "make sure that the master answers (salt-call test.ping)",
                )
            ]
        ) from error


def _engine(function, *arguments, **options):
    """Call the engine, and turn its errors into Salt's."""
    try:
        return function(*arguments, **options)
    except EngineError as error:
        raise CommandExecutionError("\n".join(error.sentences)) from error


def _masters():
    """The masters in the minion's configuration; none for a masterless minion."""
    if __opts__.get("file_client") == "local":
        return []
    configured = __opts__.get("master_ip") or __opts__.get("master") or []
    return [configured] if isinstance(configured, str) else list(configured)


def _has_several_masters():
    # With several masters a minion runs once for each, and its options then name only that one.
    if "conf_file" not in __opts__:
        return False
    configured = salt.config.minion_config(
        __opts__["conf_file"], cache_minion_id=False, minion_id=__opts__["id"]
    )["master"]
    return isinstance(configured, list) and len(configured) > 1


def _master_addresses():
    """The masters' addresses, as far as they can be resolved."""
    try:
        return _dns.resolve_masters(_masters())
    except EngineError:
        return ()


def _master_ports():
    """The ports of a master for publishing jobs and for returns."""
    return [__opts__.get("publish_port", 4505), __opts__.get("master_port", 4506)]
