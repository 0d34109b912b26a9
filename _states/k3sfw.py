"""
The host firewall of a K3s cluster as a state.

.. code-block:: yaml

    k3s_firewall:
      k3sfw.managed: []

    k3s_routes:
      k3sfw.routes_checked: []

    k3s_ports:
      k3sfw.ports_checked: []

The port tables are in pillar below ``k3s``; see the execution module ``k3sfw``.
"""

import sys

from salt.exceptions import CommandExecutionError

__version__ = "0.3.0.dev0"
__virtualname__ = "k3sfw"

# Exporters make a label of a comment, or of its first line. So each begins with one of these, which
# are the same in every run and on every node; what differs is on the lines below.
_SAME, _WOULD, _CHANGED, _FAILED = "same", "would change", "changed", "failed"
_HEADLINES = {
    "k3sfw.apply": {
        _SAME: "firewalld and the kernel match the tables",
        _WOULD: "firewalld would be changed to match the tables",
        _CHANGED: "firewalld was changed to match the tables",
        _FAILED: "the tables were refused, and those that were proven last stay in force",
    },
    "k3sfw.prepare": {
        _SAME: "nothing to prepare",
        _WOULD: "the rules would be written before firewalld starts",
        _CHANGED: "the rules are written for the start of firewalld",
    },
    "k3sfw.remove": {
        _SAME: "nothing of k3sfw is in firewalld",
        _WOULD: "what k3sfw created would be removed from firewalld",
        _CHANGED: "what k3sfw created was removed from firewalld",
    },
    "k3sfw.metrics": {
        _SAME: "the metrics are as k3s:metrics says",
        _WOULD: "the metrics would be written, or removed",
        _CHANGED: "the metrics were written, or removed",
        _FAILED: "the metrics could not be written",
    },
    "k3sfw.check_ports": {
        "OK": "OK: the ports are as the tables say",
        "WARN": "WARN: some ports are not proven, or lack a listener",
        "FAIL": "FAIL: some ports are not as the tables say",
        "UNKNOWN": "UNKNOWN: the ports could not be checked",
    },
    "k3sfw.check_routes": {
        "OK": "OK: the routes are right",
        "WARN": "WARN: some routes are not proven",
        "FAIL": "FAIL: some routes, or what they depend on, are wrong",
        "UNKNOWN": "UNKNOWN: the routes could not be checked",
    },
}
_STARTS = "firewalld would be started with the prepared rules"
_REFUSED = "refused, and nothing was changed"
_UNDONE = "the change failed and was undone"
_NOT_DONE = "the change failed"
_BROKEN = "a promise is broken by tables that are in force"

# As in setup.cfg. Python 3.6 reads this file too.
_LOWEST_PYTHON = (3, 9)


def __virtual__():
    """
    Load if the execution module does, and has the same version.
    """
    if sys.version_info < _LOWEST_PYTHON:
        lowest, own = (".".join(map(str, each)) for each in (_LOWEST_PYTHON, sys.version_info[:3]))
        return (
            False,
            f"k3sfw: it needs Python {lowest} or newer, and {sys.executable}, which runs this "
            f"minion, is Python {own}. Fix: run the minion from the packages of the Salt Project, "
            "or SUSE's venv-salt-minion: they bring a Python of their own",
        )
    if "k3sfw.apply" not in __salt__:
        return (
            False,
            "k3sfw: the execution module k3sfw is not loaded. Fix: salt-call k3sfw.role says why; "
            "if that is not available either, run salt-call saltutil.sync_all",
        )
    # The execution module has imported it, and is of its version.
    version = sys.modules["k3sfw_engine"].__version__
    if version != __version__:
        return (
            False,
            f"k3sfw: these states are {__version__} and the execution module is {version}. Fix: "
            "run saltutil.sync_all",
        )
    return __virtualname__


def managed(name, prepared=False):
    """
    Apply the rules of the port tables for this node to firewalld.

    name
        An arbitrary identifier.

    prepared
        ``True`` means that :py:func:`prepared` and a start of the service come before this state:
        test mode then expects a stopped firewalld to run with all the rules.

    ``changes`` is ``{layer: {object: {setting: {old, new}}}}`` for the layers ``runtime``,
    ``permanent`` and ``kernel``. After a change or a failure the event ``k3sfw/managed`` tells the
    master, so that scheduled runs can otherwise stay silent. While a promise (``k3s:tests``) is
    broken by tables that were in force before, the event ``k3sfw/checked`` tells it.
    """
    if prepared and __opts__["test"] and not __salt__["service.status"]("firewalld"):
        return {"name": name, "result": None, "changes": {}, "comment": _STARTS}
    ret, broken = _run(name, "k3sfw.apply", refresh=False)
    if ret["changes"] or not ret["result"]:
        _tell_master(ret, "k3sfw/managed")
    elif broken:
        _tell_master({**ret, "comment": "\n".join([_BROKEN, *broken])}, "k3sfw/checked")
    return ret


def prepared(name):
    """
    Write the rules to the permanent configuration before firewalld starts on a live node, or in an
    image (a chroot, or with ``SYSTEMD_OFFLINE=1``), in which it does not run.

    name
        An arbitrary identifier.

    If firewalld is already running, there is nothing to prepare.

    .. code-block:: yaml

        k3s_firewall_prepared:
          k3sfw.prepared: []
    """
    return _run(name, "k3sfw.prepare", refresh=False)[0]


def absent(name):
    """
    Remove everything k3sfw created in firewalld, and nothing else.

    name
        An arbitrary identifier.

    .. code-block:: yaml

        k3s_firewall_removed:
          k3sfw.absent: []
    """
    return _run(name, "k3sfw.remove")[0]


def metrics_managed(name):
    """
    Write the metrics of this node for Prometheus where ``k3s:metrics`` in pillar says, or remove
    them if they are switched off there.

    .. versionadded:: 0.3.0

    name
        An arbitrary identifier.

    ``changes`` has the file if it appears or disappears; a new content is not a change.

    .. code-block:: yaml

        k3s_metrics:
          k3sfw.metrics_managed: []
    """
    # The run that this is part of has just compiled the pillar.
    return _run(name, "k3sfw.metrics", refresh=False)[0]


def metrics_absent(name):
    """
    Remove the metrics of this node, whatever pillar says.

    .. versionadded:: 0.3.0

    name
        An arbitrary identifier.

    .. code-block:: yaml

        k3s_metrics_removed:
          k3sfw.metrics_absent: []
    """
    return _run(name, "k3sfw.metrics", remove=True)[0]


def ports_checked(name, allow_warnings=True, peers=8):
    """
    Fail if :py:func:`k3sfw.check_ports` fails: a row is not in force, its packets do not pass, a
    port is open that should be closed, or the check could not run.

    name
        An arbitrary identifier.

    allow_warnings
        ``False`` also fails on a warning: a missing listener, or something that is not proven.

    peers
        The number of peers to ask, or ``all``.

    Nothing is ever changed. After a failure the event ``k3sfw/checked`` tells the master, so that
    scheduled runs can otherwise stay silent. Use it in a run of its own, after the apply on all
    nodes: while they are applied one after the other, peers are still closed.
    """
    return _checked(name, "k3sfw.check_ports", allow_warnings, peers=peers)[0]


def routes_checked(name, allow_warnings=True, settled=False):
    """
    Fail if :py:func:`k3sfw.check_routes` fails: a route, an entry below it, a sysctl or an MTU is
    wrong, or the check could not run.

    name
        An arbitrary identifier.

    allow_warnings
        ``False`` also fails on a warning: something that is not proven, or a conflict.

    settled
        ``True`` means that the states of ``k3s.routes`` come before this one: test mode then
        expects the sysctls that they set to be right.

    Nothing is ever changed. After a failure the event ``k3sfw/checked`` tells the master, so that
    scheduled runs can otherwise stay silent.
    """
    # The run that this is part of has just compiled the pillar.
    ret, found = _checked(name, "k3sfw.check_routes", allow_warnings, refresh=False)
    if settled and __opts__["test"] and found.get("fixed_by") == "k3s.routes":
        ret["result"] = None
    return ret


def _checked(name, function, allow_warnings, **options):
    """
    Run a check as a state; return the state's result and the check's own.
    """
    found = __salt__[function](**options)
    good = ("OK", "WARN") if allow_warnings else ("OK",)
    ret = {
        "name": name,
        "result": found["status"] in good,
        "changes": {},
        "comment": "\n".join(
            [_HEADLINES[function][found["status"]], found["summary"], *found["problems"]]
        ),
    }
    if not ret["result"]:
        _tell_master(ret, "k3sfw/checked")
    return ret, found


def _tell_master(ret, tag):
    if not __opts__["test"] and __opts__.get("file_client") != "local":
        __salt__["event.fire_master"](ret, tag)


def _run(name, function, **options):
    """
    Run a change as a state; return the state's result, and the promises that are broken.
    """
    ret = {"name": name, "result": False, "changes": {}, "comment": ""}
    try:
        outcome = __salt__[function](test=__opts__["test"], **options)
    except CommandExecutionError as error:
        return {**ret, "comment": f"{_REFUSED}\n{error}"}, []
    ret.update({key: outcome[key] for key in ("result", "changes")})
    ret["comment"] = _with_headline(function, outcome)
    return ret, outcome.get("broken_promises", [])


def _with_headline(function, outcome):
    headlines = _HEADLINES[function]
    if outcome["result"] is False:
        headline = _UNDONE if "undone" in outcome["changes"] else headlines.get(_FAILED, _NOT_DONE)
    elif outcome["changes"]:
        headline = headlines[_WOULD if outcome["result"] is None else _CHANGED]
    else:
        headline = headlines[_SAME]
    lines = outcome["comment"].split("\n")
    # What the function itself says if there is nothing to do.
    said = lines[0] in (headline, _HEADLINES["k3sfw.apply"][_SAME])
    return "\n".join([headline, *lines[said:]])
