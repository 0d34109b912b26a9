"""
The host firewall of a K3s cluster as a state.

.. code-block:: yaml

    k3s_firewall:
      k3sfw.managed: []

    k3s_routes:
      k3sfw.routes_checked: []

    k3s_ports:
      k3sfw.ports_checked: []

The port tables stand in pillar below ``k3s``; see the execution module ``k3sfw``.
"""

import sys

from salt.exceptions import CommandExecutionError

__version__ = "0.2.0"
__virtualname__ = "k3sfw"


def __virtual__():
    """
    Load where the execution module does, and is of the same version.
    """
    if "k3sfw.apply" not in __salt__:
        return (
            False,
            "k3sfw: the execution module k3sfw is not loaded. Fix: salt-call k3sfw.role says why",
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
    Make firewalld have exactly the rules that the port tables give this node.

    name
        A name for people; nothing depends on it.

    prepared
        ``True`` says that :py:func:`prepared` and a start of the service come before: a firewalld
        that does not run in test mode will then run, with all the rules.

    ``changes`` is ``{layer: {object: {setting: {old, new}}}}`` for the layers ``runtime``,
    ``permanent`` and ``kernel``. When something changed, or could not be, an event
    ``k3sfw/managed`` tells the master, so that a scheduled run may be silent else.
    """
    if prepared and __opts__["test"] and not __salt__["service.status"]("firewalld"):
        comment = "firewalld would be started with the rules that are prepared for it"
        return {"name": name, "result": None, "changes": {}, "comment": comment}
    ret = _run(name, "k3sfw.apply", refresh=False)
    if ret["changes"] or not ret["result"]:
        _tell_master(ret, "k3sfw/managed")
    return ret


def prepared(name):
    """
    Before firewalld is started on a live node: have the rules in its permanent configuration.

    name
        A name for people; nothing depends on it.

    Where firewalld runs already, there is nothing to prepare.

    .. code-block:: yaml

        k3s_firewall_prepared:
          k3sfw.prepared: []
    """
    return _run(name, "k3sfw.prepare", refresh=False)


def absent(name):
    """
    Take everything that k3sfw made out of firewalld, and nothing else.

    name
        A name for people; nothing depends on it.

    .. code-block:: yaml

        k3s_firewall_removed:
          k3sfw.absent: []
    """
    return _run(name, "k3sfw.remove")


def ports_checked(name, allow_warnings=True, peers=8):
    """
    Fail where :py:func:`k3sfw.check_ports` does: a row is not in force or its packets do not pass,
    something is open that should be closed, or it could not be checked.

    name
        A name for people; nothing depends on it.

    allow_warnings
        ``False`` makes a warning a failure, too: nobody listens, or something could not be proven.

    peers
        How many peers to ask, or ``all``.

    Nothing is ever changed. A failure is told to the master by the event ``k3sfw/checked``, so that
    a scheduled run may be silent else. It must come after the apply of all nodes, and so in a run
    of its own: while they are applied one after the other, peers are rightly found closed.
    """
    return _checked(name, "k3sfw.check_ports", allow_warnings, peers=peers)[0]


def routes_checked(name, allow_warnings=True, settled=False):
    """
    Fail where :py:func:`k3sfw.check_routes` does: a route, an entry below it, a setting or a size
    is wrong, or could not be checked.

    name
        A name for people; nothing depends on it.

    allow_warnings
        ``False`` makes a warning a failure, too: something could not be proven, or is in conflict.

    settled
        ``True`` says that the states of ``k3s.routes`` come before: settings that are wrong in test
        mode will then be right.

    Nothing is ever changed. A failure is told to the master by the event ``k3sfw/checked``, so that
    a scheduled run may be silent else.
    """
    # The run that this is part of has just compiled the pillar.
    ret, found = _checked(name, "k3sfw.check_routes", allow_warnings, refresh=False)
    if settled and __opts__["test"] and _is_settled(found):
        ret["result"] = None
    return ret


def _is_settled(found):
    """Whether nothing is wrong but what ``k3s.routes`` sets."""
    failures = set(found["counts"]) - {"ok", "unproven", "conflict"}
    wrong = [problem for problem in found["problems"] if problem.startswith("bad_setting")]
    return failures == {"bad_setting"} and all(
        problem.endswith("state.apply k3s.routes") for problem in wrong
    )


def _checked(name, function, allow_warnings, **options):
    """
    A check as a state, and what the check answered.
    """
    found = __salt__[function](**options)
    good = ("OK", "WARN") if allow_warnings else ("OK",)
    ret = {
        "name": name,
        "result": found["status"] in good,
        "changes": {},
        "comment": "\n".join([f"{found['status']}: {found['summary']}", *found["problems"]]),
    }
    if not ret["result"]:
        _tell_master(ret, "k3sfw/checked")
    return ret, found


def _tell_master(ret, tag):
    if not __opts__["test"] and __opts__.get("file_client") != "local":
        __salt__["event.fire_master"](ret, tag)


def _run(name, function, **options):
    ret = {"name": name, "result": False, "changes": {}, "comment": ""}
    try:
        outcome = __salt__[function](test=__opts__["test"], **options)
    except CommandExecutionError as error:
        return {**ret, "comment": str(error)}
    return {**ret, **{key: outcome[key] for key in ("result", "changes", "comment")}}
