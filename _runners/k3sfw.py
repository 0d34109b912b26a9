"""
The whole K3s cluster, seen from the Salt master: before a change and after it.

:depends: netaddr in the Python that runs the master
:platform: a Salt master; the nodes are its minions

The nodes are the accepted minions whose cached grains have ``k3s_role``, and those that pillar
pins, as in the pillar of every node. Each function returns ``{retcode, outputter, data}``, and
``salt-run`` exits with that code.
"""

import functools as _functools
import inspect as _inspect
import re
import sys
import time
from pathlib import Path

# Salt's loader offers every public function of this module, so whatever is imported here has a name
# that begins with an underscore, or is a class.
try:
    from k3sfw_engine.cluster_pillar.cluster_tables import (
        MasterPillar,
        read_cluster_tables as _read_cluster_tables,
    )
    from k3sfw_engine.cluster_pillar.pillar_source import parse_source as _parse_source
    from k3sfw_engine.cluster_pillar.preview_cache import (
        k3sfw_preview as _preview_driver,
        preview_options as _preview_options,
    )
    from k3sfw_engine.errors import EngineError, Problem
    from k3sfw_engine.fleet.returned import could_not as _could_not
    from k3sfw_engine.master import (
        check as _check,
        diff as _diff,
        explain as _explain,
        reach as _reach,
        report as _report,
        tables as _tables,
        test as _test,
        who as _who,
    )
    from k3sfw_engine.master.saved_answers import saved_answers as _saved_answers
    from k3sfw_engine.port_tables import merge_pillar as _merge_pillar

    _FAILURE = None
except Exception as error:  # Any exception is possible if files are missing or outdated.
    _FAILURE = error

import salt.client
import salt.fileclient
import salt.pillar
from salt.cache import Cache
from salt.exceptions import SaltClientError, SaltDeserializationError, SaltException
from salt.utils.minions import CkMinions
from salt.version import __version_info__ as _salt_version

__version__ = "0.3.0.dev0"
__virtualname__ = "k3sfw"

# As in setup.cfg. Python 3.6 reads this file too.
_LOWEST_PYTHON = (3, 9)


def __virtual__():
    """
    Load only on a master, if the engine is complete and of the same version, and the package that
    it imports is installed.
    """
    if globals().get("__opts__", {}).get("__role", "master") != "master":
        return (
            False,
            "k3sfw: its runner needs the keys and the grains cache of a master, and this is a "
            "minion. Fix: run salt-run on the master",
        )
    if sys.version_info < _LOWEST_PYTHON:
        lowest, own = (".".join(map(str, each)) for each in (_LOWEST_PYTHON, sys.version_info[:3]))
        return (
            False,
            f"k3sfw: it needs Python {lowest} or newer, and {sys.executable}, which runs this "
            f"master, is Python {own}. Fix: run the master from the packages of the Salt Project, "
            "which bring a Python of their own",
        )
    engine = sys.modules.get("k3sfw_engine")
    version = getattr(engine, "__version__", None)
    # First, because an engine of another version also lacks much of what is imported here.
    if version not in (None, __version__):
        return (
            False,
            f"k3sfw: this runner is {__version__} and its engine is {version} "
            f"({engine.__file__}). Fix: run salt-run saltutil.sync_all on the master, remove the "
            "copy that is not wanted, and restart the master",
        )
    if _FAILURE is None:
        return __virtualname__
    # The package that cannot be imported; any other failure is the engine's.
    package = (isinstance(_FAILURE, ImportError) and _FAILURE.name or "").partition(".")[0]
    if package not in ("", "k3sfw_engine"):
        return (
            False,
            f"k3sfw: the Python package {package} is missing in {sys.executable}. Fix: run "
            f"salt-pip install {package}, or {sys.executable} -m pip install {package}",
        )
    return (
        False,
        f"k3sfw: its engine is not complete on this master ({_FAILURE}). Fix: run salt-run "
        "fileserver.clear_file_list_cache, then salt-run saltutil.sync_all; or install the Python "
        f"package saltext.k3sfw into {sys.executable}",
    )


def _takes(*reserved, otherwise=1):
    """
    Refuse arguments that a function does not have, and call it without those of Salt.

    Where arguments do not fit, Salt shows the docstring and exits with 0, which a CI takes for
    success. So each function takes all, and knows its own.

    reserved
        The arguments whose names are words that Python reserves.

    otherwise
        The return code.
    """

    def decorate(function):
        signature = _inspect.signature(function)
        parameters = [
            each for each in signature.parameters.values() if each.kind != each.VAR_KEYWORD
        ]
        own = [each.name for each in parameters]
        required = [each.name for each in parameters if each.default is each.empty]

        @_functools.wraps(function)
        def checked(*values, **named):
            named = {name: value for name, value in named.items() if not name.startswith("__")}
            given = {**dict(zip(own, values)), **named}
            faults = [f"has no argument {name}" for name in sorted({*named} - {*own, *reserved})]
            faults += [f"got {name} twice" for name in own[: len(values)] if name in named]
            if len(values) > len(own):
                faults.append(f"takes {len(own)} arguments, and not {len(values)}")
            faults += [f"needs {name}=" for name in required if given.get(name) in (None, "")]
            if faults:
                name = f"k3sfw.{function.__name__}"
                problem = Problem(f"{name} {', '.join(faults)}", f"salt-run -d {name}")
                return _could_not(EngineError([problem]), otherwise).as_dict()
            return function(**given)

        return checked

    return decorate


@_takes("from", otherwise=3)
def check(peers=8, timeout=None, save="", junit="", prometheus="", cluster="", **kwargs):
    """
    Ask all nodes for their checks, and show what is wrong in the whole cluster by its causes: each
    once, with the node at fault and the command that fixes it.

    .. versionadded:: 0.3.0

    peers
        How many peers each node asks, others every minute (default 8), or ``all``.

    timeout
        The seconds after which a minion that neither answers nor is at work is silent. The default
        is the master's ``timeout``.

    save
        A file for all answers, as JSON.

    junit
        A file for the results as JUnit's XML, for a CI.

    prometheus
        A file for the results as metrics, in the folder of a textfile collector on the master.

    from
        A file that ``save`` wrote: it is judged, and no node is asked.

    cluster
        The cluster, where the master has nodes of several.

    Returns the causes with their sentences and fixes, promises, notices, and how much was asked:
    the pairs, the nodes that were silent, and how old the oldest proof is. Exit codes: 0 OK,
    1 WARN, 2 FAIL, 3 could not check, 4 bad tables. A silent node makes it 3, unless something else
    is FAIL.

    CLI Example:

    .. code-block:: bash

        salt-run k3sfw.check
        salt-run k3sfw.check peers=all save=/var/tmp/answers.json junit=/var/tmp/results.xml
        salt-run k3sfw.check from=/var/tmp/answers.json
    """
    forms = _check.WrittenForms(str(save or ""), str(junit or ""), str(prometheus or ""))
    return _answer(
        lambda: _check.check(lambda: _checked_cluster(peers, timeout, str(cluster), kwargs), forms),
        otherwise=3,
    )


def _checked_cluster(peers, timeout, cluster, others):
    """The answers of all nodes, or those of the file in ``from``."""
    saved = _saved_answers("from", others.get("from", ""))
    if saved:
        return saved
    if not (str(peers) == "all" or (type(peers) is int and peers >= 0)):
        raise EngineError([Problem(f"peers={peers!r} is not a number of peers", "peers=8, or all")])
    nodes = _nodes_by_salt(_seconds(timeout))
    found = _cluster_tables("new", "base", "", cluster)
    return _check.ask_cluster(found, nodes, __version__, peers)


def _seconds(timeout):
    if timeout is None or (type(timeout) is int and timeout > 0):
        return timeout
    raise EngineError([Problem(f"timeout={timeout!r} is not seconds", "timeout=30")])


def _nodes_by_salt(timeout):
    return _check.NodesBySalt(
        accepted=lambda: CkMinions(__opts__).check_minions("*", "glob")["minions"],
        ask=lambda names, function, options: (
            (name, answer["ret"]) for name, answer in _returned(names, function, options, timeout)
        ),
        tell=_tell,
        clock=time.time,
    )


def _tell(message):
    """Show how far a run is, unless a program reads what it returns."""
    job = globals().get("__jid_event__")
    if job is not None and not __opts__.get("output"):
        job.fire_event({"message": message, "outputter": "k3sfw"}, "progress")


@_takes()
def test(new="base", junit="", minion="", cluster="", **kwargs):
    """
    Judge the promises, ``k3s:tests`` in pillar, by the tables, before anything is touched.

    .. versionadded:: 0.3.0

    junit
        A file for the results as JUnit's XML, for a CI.

    new, minion, cluster
        As for :py:func:`tables`.

    Returns every promise with its value: ``kept``, ``broken``, ``not enforceable`` (Kubernetes
    redirects the port) or ``unproven``; by the tables alone. Exit codes: 0 none is broken, except
    with ``severity: warn``; 2 broken, 1 could not be read, 4 bad tables.

    CLI Example:

    .. code-block:: bash

        salt-run k3sfw.test
        salt-run k3sfw.test new=/srv/candidate/pillar junit=/var/tmp/promises.xml
    """
    return _answer(
        lambda: _test.test(
            _cluster_tables("new", new, minion, cluster), str(junit or ""), int(time.time())
        )
    )


@_takes()
def diff(
    old="live", new="base", minion="", cluster="", intended=None, form="text", timeout=60, **kwargs
):
    """
    Compare what two sources of tables let in: newly let in, no longer let in, and what changed
    without effect.

    .. versionadded:: 0.3.0

    old, new
        Where the tables come from, as for :py:func:`tables`. ``old`` can also be ``live``, what
        the nodes have in force now (the default), or ``kept``, the last tables that were proven
        there; nodes are asked for both.

    minion, cluster
        As for :py:func:`tables`.

    intended
        What is meant to be let in newly: ``{from: admins, to: agent, port: 3100}``. The answer
        tells whether it was open before, whether all of it is open now, and what else changes.

    form
        ``text``, or ``md`` for Markdown, as it is pasted to a pull request. ``--out=json`` shows
        the data.

    timeout
        How many seconds to wait for the nodes.

    Returns ``opened`` and ``closed``: who, where, at which ports, because of which rows, and an
    example packet; then what changed without effect, and the promises of the new tables. With
    ``old=live`` also ``drift``, what nodes let in otherwise than their proven tables, and the live
    connections that would be refused. Exit codes: 0 no difference, 2 difference, 1 could not be
    read, or no difference but a node is silent, 4 bad tables; with ``intended`` 0 if exactly that
    is let in newly, and else 2.

    CLI Example:

    .. code-block:: bash

        salt-run k3sfw.diff
        salt-run k3sfw.diff old=ref:main~1 new=base
        salt-run k3sfw.diff old=base new=/srv/x intended='{from: admins, to: agent, port: 3100}'
        salt-run k3sfw.diff old=base new=/srv/candidate/pillar
    """
    return _answer(lambda: _differing(old, new, minion, cluster, intended, timeout).in_form(form))


def _differing(old, new, minion, cluster, intended, timeout):
    origin, pillar = _parse_source("old", old), _master_pillar()
    tables = _cluster_tables("new", new, minion, cluster, pillar)
    if origin.is_asked_of_nodes:
        ask = _functools.partial(_ask, timeout=_seconds(timeout))
        return _diff.diff_of_nodes(origin.origin, tables, ask, intended)
    return _diff.diff(_cluster_tables("old", old, minion, cluster, pillar), tables, intended)


@_takes("from")
def who(to, port, new="base", minion="", cluster="", **kwargs):
    """
    Name the sources that reach a port of a node, by which rows of the tables.

    .. versionadded:: 0.3.0

    to
        A minion id, ``server``, ``agent``, or ``any``; several with commas.

    port
        A port: ``2379``, ``2379-2380``, ``udp/8472``; or an IP protocol: ``vrrp``.

    new, minion, cluster
        As for :py:func:`tables`.

    from
        A file of answers that the check of all nodes saved. With it, the answer tells how much of
        this packets have proven, and when.

    Returns for each row that lets packets in: who, where, at which ports, and where the row stands
    in pillar. Exit codes: 0, 1 could not be read, 4 bad tables.

    CLI Example:

    .. code-block:: bash

        salt-run k3sfw.who to=s1 port=2379
        salt-run k3sfw.who to=any port=udp/8472 new=/srv/candidate/pillar
    """
    return _answer(
        lambda: _who.who(
            _cluster_tables("new", new, minion, cluster),
            to,
            port,
            _saved_answers("from", kwargs.get("from", "")),
        )
    )


@_takes("from")
def reach(new="base", minion="", cluster="", **kwargs):
    """
    List what a source reaches, by which rows of the tables, and who else by the same rows.

    .. versionadded:: 0.3.0

    from
        A minion id, a role, ``any``, ``pods``, ``services``, a group, ``anyone``, an address or a
        CIDR.

    new, minion, cluster
        As for :py:func:`tables`.

    Returns for each row that lets the source in: where, at which ports, whether all of its
    addresses get in, and where the row stands in pillar. Exit codes: 0, 1 could not be read, 4 bad
    tables.

    CLI Example:

    .. code-block:: bash

        salt-run k3sfw.reach from=a1
        salt-run k3sfw.reach from=198.51.100.0/28 new=ref:main
    """
    return _answer(
        lambda: _reach.reach(_cluster_tables("new", new, minion, cluster), kwargs.get("from", ""))
    )


@_takes("from")
def report(html="", previous="", peers=8, timeout=None, cluster="", **kwargs):
    """
    Write the cluster as one HTML page that needs nothing else: its problems with their fixes, the
    promises, who may reach what, and what each node got from each other node.

    .. versionadded:: 0.3.0

    html
        The file to write, as a whole or not at all.

    from
        A file of saved answers (``save`` of ``k3sfw.check``, or the page's own download): no node
        is asked.

    previous
        A file of older answers: the page tells what is new since then, fixed, or still there.

    peers, timeout, cluster
        As for :py:func:`check`, which is run if no answers are given.

    Returns the path, the size and the first sentence of the page. Exit codes: 0 written, whatever
    it says; 1 could not be written, or the answers could not be read; 4 bad tables.

    CLI Example:

    .. code-block:: bash

        salt-run k3sfw.report html=/root/cluster.html
        salt-run k3sfw.report html=/root/cluster.html from=today.json previous=yesterday.json
    """
    return _answer(
        lambda: _report.report(
            html,
            lambda: _checked_cluster(peers, timeout, str(cluster), {}),
            _page_file,
            saved=kwargs.get("from", ""),
            previous=previous,
        )
    )


def _page_file(name):
    """
    The text of a file of the page: from beside the engine where pip installed it, else from the
    master's file server, as Salt syncs Python files alone.
    """
    beside = Path(_report.__file__).parents[1] / "fleet/page" / name
    if beside.is_file():
        return beside.read_text(encoding="utf-8")
    source = f"salt://_utils/k3sfw_engine/fleet/page/{name}"
    with salt.fileclient.get_file_client(__opts__) as client:
        cached = client.cache_file(source, __opts__.get("saltenv") or "base")
    if not cached:
        fix = "salt-run fileserver.clear_file_list_cache, or install k3sfw with pip"
        raise EngineError([Problem(f"the file server of this master has no {source}", fix)])
    return Path(cached).read_text(encoding="utf-8")


@_takes("from")
def explain(to, port, packet=False, minion="", cluster="", timeout=60, **kwargs):
    """
    Follow one packet to a node: destination NAT, policies before ours, rows, the kernel's rule, and
    the zone in which it would arrive. The node itself tells each step.

    .. versionadded:: 0.3.0

    from
        Who sends it: a minion id, or an address.

    to
        The node that it goes to: a minion id, or an address of a node.

    port
        A port: ``2379`` or ``udp/8472``; or an IP protocol: ``vrrp``.

    packet
        ``True`` lets the source, which must be a node, send the packet as well. What it shows
        stands beside the steps, and a contradiction between both is named.

    minion, cluster
        As for :py:func:`tables`.

    timeout
        How many seconds to wait for a node.

    Returns the steps, each with what becomes of the packet, the step that decides, and the packets
    that were sent. Exit codes: 0, 1 could not be asked, 4 bad tables.

    CLI Example:

    .. code-block:: bash

        salt-run k3sfw.explain from=a1 to=s1 port=2379
        salt-run k3sfw.explain from=a1 to=s1 port=udp/8472 packet=True
    """
    return _answer(
        lambda: _explain.explain(
            _cluster_tables("new", "base", minion, cluster),
            _explain.parse_question(kwargs.get("from", ""), to, port, packet),
            # A check that finds something has a return code, and is an answer.
            lambda names, function, options: (
                (name, answer["ret"])
                for name, answer in _returned(names, function, options, timeout)
            ),
        )
    )


@_takes("from")
def tables(new="base", minion="", cluster="", **kwargs):
    """
    Show role by role which sources get in at which ports, by the tables.

    .. versionadded:: 0.3.0

    new
        Where the tables come from: a pillar environment (``base`` is what minions get that have no
        ``pillarenv`` of their own), ``ref:main`` for a git reference of the repository in which the
        pillar root is, or a folder with pillar files.

    minion
        The node whose pillar is read; by default that of the first server and of the first agent.

    cluster
        The cluster, where the master has nodes of several.

    from
        A file of answers that :py:func:`check` saved: they tell which ports Kubernetes redirects.

    Returns a matrix: for each role and range of ports, what each source has there: ``open``,
    ``closed``, ``part`` of its addresses or ports, or ``redirected`` by Kubernetes. Exit codes: 0,
    1 could not be read, 4 bad tables.

    CLI Example:

    .. code-block:: bash

        salt-run k3sfw.tables
        salt-run k3sfw.tables new=ref:main~1
    """
    return _answer(
        lambda: _tables.tables(
            _cluster_tables("new", new, minion, cluster),
            _saved_answers("from", kwargs.get("from", "")),
        )
    )


def _cluster_tables(argument, source, minion, cluster, pillar=None):
    return _read_cluster_tables(
        pillar or _master_pillar(), _parse_source(argument, source), str(minion), str(cluster)
    )


def _answer(verb, *arguments, otherwise=1, **options):
    """
    Call a verb of the master, and return its result or every reason why there is none.

    otherwise
        The return code if the verb could not do its work; 4 if the tables are bad.
    """
    try:
        returned = verb(*arguments, **options)
    except EngineError as error:
        returned = _could_not(error, otherwise)
    return returned.as_dict()


def _ask(minions, function, arguments, timeout):
    """Call a function on these minions; the answers of those that answered without an error."""
    returned = _returned(minions, function, arguments, timeout)
    return {
        minion: answer["ret"]
        for minion, answer in returned
        if minion in minions and answer.get("retcode", 0) == 0
    }


def _returned(minions, function, arguments, timeout):
    """Call a function on minions, and iterate over what each of them returns, as it comes."""
    # The second is how long Salt waits for a minion to say whether it is still at work.
    waits = {} if timeout is None else {"timeout": timeout, "gather_job_timeout": timeout}
    client = salt.client.get_local_client(mopts=__opts__)
    try:
        for returned in client.cmd_iter(
            list(minions), function, kwarg=dict(arguments), tgt_type="list", **waits
        ):
            for minion, answer in (returned or {}).items():
                if isinstance(answer, dict) and "ret" in answer:
                    yield minion, answer
    except (RecursionError, SaltDeserializationError) as error:
        raise _check.UnreadableAnswer(["its answer cannot be read by Salt"]) from error
    except (SaltClientError, SaltException) as error:
        problem = Problem(f"the minions cannot be asked ({error})", "systemctl status salt-master")
        raise EngineError([problem]) from error
    finally:
        client.destroy()


def _master_pillar():
    return MasterPillar(
        grains=_functools.lru_cache(maxsize=None)(_cached_grains),
        compile=_compile,
        roots={env: list(roots) for env, roots in __opts__.get("pillar_roots", {}).items()},
        has_other_pillars=bool(__opts__.get("ext_pillar")),
        git_pillars=_git_pillars(),
    )


def _git_pillars():
    """The branch and the address of each git pillar, without a password in the address."""
    listed = (
        remote
        for each in __opts__.get("ext_pillar") or ()
        if isinstance(each, dict)
        for remotes in [each.get("git") or ()]
        for remote in (remotes if isinstance(remotes, list) else [remotes])
    )
    names = (next(iter(each), "") if isinstance(each, dict) else each for each in listed)
    return [re.sub(r"//[^/\s]*@", "//", str(name)) for name in names]


def _cached_grains():
    """The grains of every accepted minion that is a K3s node, as pillar/k3s/nodes.sls finds it."""
    if not __opts__.get("minion_data_cache"):
        return {}
    cache = Cache(__opts__)  # Salt takes some milliseconds to make one.
    accepted = CkMinions(__opts__).check_minions("*", "glob")["minions"]
    cached = {name: _grains_of(name, cache) for name in accepted}
    return {name: grains for name, grains in cached.items() if grains.get("k3s_role")}


def _grains_of(minion, cache):
    # Salt 3008 gave grains a bank of their own; before, they were stored with the minion's pillar.
    own_bank = _salt_version >= (3008,)
    entry = ("grains", minion) if own_bank else (f"minions/{minion}", "data")
    try:
        data = cache.fetch(*entry)
        return (data if own_bank else data.get("grains")) or {}
    except SaltException:  # A broken entry costs one minion.
        return {}


def _compile(minion, grains, place):
    """Compile a pillar as the master does for a minion, with more grains and maybe other roots."""
    opts = {**__opts__, **_preview_options(__opts__, _preview_driver)}
    if place.roots is not None:
        others = [each for each in opts.get("ext_pillar") or [] if "git" not in each]
        roots = {env: list(roots) for env, roots in place.roots.items()}
        opts |= {"pillar_roots": roots, "ext_pillar": others}
    try:
        compiled = salt.pillar.Pillar(
            opts,
            {**_grains_of(minion, Cache(__opts__)), **grains},
            minion,
            "base",
            pillarenv=place.environment,
        ).compile_pillar()
    except SaltException as error:
        compiled = {"_errors": [str(error) or type(error).__name__]}
    return _merge_pillar.to_plain(compiled)
