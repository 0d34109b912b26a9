#!py
"""
``k3sfw_claims``: the nodes in the cluster of the minion that this pillar is for, as they claim to
be in the grains cache of the master. The engine merges ``k3s:nodes``, the site's pins, over them.

The cache holds the grains of every accepted minion and drops them with its key. Unlike the mine, it
needs no function to run on the minions first.

A master may have thousands of clusters, so a pillar asks about the members of its own. Who they may
be is in the bank ``k3sfw`` of the cache, whatever its driver:

============================ =======================================================================
``clusters/CLUSTER``         the list of a cluster: a key for each minion that was a node of it
``claims`` CLUSTER           what a pillar of this cluster has read last, and the time of each entry
``memory``                   when all minions were looked at, and those of which nothing was known
``minions``                  in which cluster that look found each minion
============================ =======================================================================

They only say where to look: each pillar asks anew whether a key is accepted and whether the grains
have changed. A node enters the list of its cluster with its own pillar, before its grains are in
the cache; so the first refresh after a join shows it. The price: grains that come into the cache
without such a pillar (``pillar_cache``, an environment without this file, a restored backup) are
found only when a pillar looks at all minions. It does so if its node is not in the list of its
cluster, which is the case once for each node that joins or moves, and every ten minutes.

Pillars run at the same time, and no driver has a lock for them. So each node has a key of its own
in a list, and enters itself after those that the look has found: who finds itself in a list can
trust it. A list that could not be completed, as on a full disk, is removed, which needs no space.
Of the other entries the last one written wins. What is lost with the others is read again.
"""

import hashlib
import logging
import os
import time

# Import single names: the renderer replaces a module named salt with Salt's functions.
from salt.cache import Cache
from salt.utils.minions import CkMinions
from salt.version import __version_info__

log = logging.getLogger(__name__)

# Salt 3008 gave grains a bank of their own; before, they were stored with the minion's pillar.
OWN_BANK = __version_info__ >= (3008,)
GRAINS = "grains" if OWN_BANK else "minions"
# The entries that pillars share, and the layout of what is stored there.
LISTS, CLAIMS = "k3sfw/clusters", "k3sfw/claims"
MEMORY, MINIONS = ("k3sfw", "memory"), ("k3sfw", "minions")
LAYOUT = 4
# That of layout 3 was one entry with the claims of all minions.
BEFORE = ("k3sfw", "nodes")
# Before 3008, Salt takes every p and every dot from the end of a key that it lists.
LISTED = ".node"
# A claim is copied into the pillar of every node, so one minion must not claim a megabyte.
LONGEST_CLAIM = 4096
SECOND = 1_000_000_000  # of the nanoseconds in which the times of cache entries are kept
DAY = 24 * 60 * 60
# All minions are looked at so often, to find what no pillar has told.
SECONDS_BETWEEN_LOOKS = 600
# A node is heard with every state run. After so many days without any it is probably gone.
DAYS_OF_SILENCE = 30
# As long is a minion taken for a node of which nothing is known. Nodes that run report within an
# hour; a week leaves time for those that are switched off.
DAYS_OF_DOUBT = 7


def run():
    """
    Return the claims if the members of the cluster are known, and nothing if they are not: an
    unknown cluster must not look like a cluster of one node.
    """
    own_id = __opts__["id"]
    if __opts__.get("__role") != "master" or not __opts__.get("minion_data_cache"):
        return {}  # masterless, or a master without a grains cache
    if not _accepted([own_id]):
        return {}  # salt-ssh: this master has no key of this host, nor of its peers
    cache = Cache(__opts__)  # not its factory, which may return a copy that is some seconds old
    own, cluster = _claim(__grains__), _cluster(__grains__)
    candidates, memory = _candidates(cache, own_id, own, cluster)
    heard, unheard = _members(cache, candidates, own_id, cluster)
    # The cached grains of this minion are older than these: they are written after the pillar.
    nodes = {**heard, **({own_id: [0, own]} if own else {})}
    found = {
        "nodes": {name: _node(claim) for name, (_stamp, claim) in sorted(nodes.items())},
        # Accepted minions without cached grains, as after the cache was cleared or Salt was
        # upgraded to 3008. Each of them is or may be a node, so the list above is incomplete.
        "unheard_minions": sorted({*unheard, *_doubted(cache, memory, own_id)}),
        "silent_minions": _silent(heard),
        # Of masters above each other, each has the grains of the minions that report to it.
        "other_masters": bool(__opts__.get("order_masters"))
        or __opts__.get("syndic_master") not in (None, "", "masterofmasters"),
    }
    return {"k3sfw_claims": {key: value for key, value in found.items() if value}}


def _silent(nodes):
    """The days since the other nodes were heard, if they are many."""
    now = time.time()
    days = {name: int((now - at / SECOND) / DAY) for name, (at, _claim) in nodes.items() if at}
    return {name: many for name, many in sorted(days.items()) if many >= DAYS_OF_SILENCE}


# -- claims ----------------------------------------------------------------------------------------


def _claim(grains):
    if not grains.get("k3s_role"):
        return {}  # not a K3s node
    claim = {
        "cluster": _cluster(grains),
        "role": _bounded(grains["k3s_role"]),
        "addresses": _bounded(grains.get("k3s_node_ips", [])),
    }
    # Known only where flannel runs. The checks use it; it opens nothing.
    if grains.get("k3s_pod_cidrs"):
        claim["pod_cidrs"] = _bounded(grains["k3s_pod_cidrs"])
    return claim


def _cluster(grains):
    return _bounded(grains.get("k3s_cluster", "default"))


def _bounded(value):
    # Text, or a list of text. Deeper values could be too deep for Salt to merge.
    items = value if isinstance(value, list) else [value]
    if any(not isinstance(item, str) for item in items):
        return f"neither text nor a list of texts, but {type(value).__name__}"
    text = repr(value)
    return value if len(text) <= LONGEST_CLAIM else f"{text[:80]}…"


def _node(claim):
    # A claim is passed on unchecked, even if it makes no sense: the engine reports the minion and
    # the value, and decides what follows. Dropped here, a live etcd member with broken grains would
    # be locked out by its peers; an error here would take the pillar from every node.
    return {name: value for name, value in claim.items() if name != "cluster"}


# -- the members of one cluster --------------------------------------------------------------------


def _members(cache, candidates, own_id, cluster):
    """
    ``{minion: [time of its cache entry, claim]}`` of the other members that are in the cache, and
    the names of those that were.
    """
    entry = (CLAIMS, _key(cluster))
    known = _fetch(cache, *entry).get("claims", {})
    names = {*candidates, *known} - {own_id}
    accepted = _accepted(names)
    heard = {name: _heard(cache, name, known.get(name)) for name in accepted}
    heard = {name: each for name, each in heard.items() if each}
    # Who is in the list and was never read said itself that it is a node of this cluster.
    unheard = {name: known.get(name, [0, {"cluster": cluster}]) for name in accepted - set(heard)}
    # What is known of a minion ends with its key. If it is accepted again, it is a new minion.
    gone = {name: [0, {}] for name in names - accepted}
    own = {own_id: known[own_id]} if own_id in known else {}
    fresh = {
        name: each
        for name, each in {**heard, **unheard, **gone, **own}.items()
        if name in candidates or each[1].get("cluster") == cluster
    }
    if fresh != known:
        _store(cache, *entry, claims=fresh)
    return _of_cluster(heard, cluster), _of_cluster(unheard, cluster)


def _of_cluster(minions, cluster):
    return {name: each for name, each in minions.items() if each[1].get("cluster") == cluster}


def _heard(cache, name, known):
    """
    The time of a minion's cache entry, and its claim; what is known if the entry is as old as that.
    ``None`` if it is not in the cache.
    """
    now = time.time_ns()
    stamp = _stamp(cache, name)
    if stamp is None:
        return None
    if known and _is_same(known[0], stamp):
        return known
    grains = _cached_grains(cache, name)
    if not grains:
        return None
    # An entry this young can change without a new time.
    precision = SECOND // 10 if stamp % SECOND else 2 * SECOND
    return [stamp if stamp + precision < now else 0, _claim(grains)]


def _is_same(one, other):
    # Most drivers tell whole seconds; so does the read-only cache in which a change is previewed.
    is_rounded = one % SECOND == 0 or other % SECOND == 0
    return one == other or (is_rounded and one // SECOND == other // SECOND)


# -- who may be a member ---------------------------------------------------------------------------


def _candidates(cache, own_id, own, cluster):
    """The minions that may be nodes of this cluster, and the memory."""
    key = _key(cluster)
    listed, memory = _listed(cache, key), _fetch(cache, *MEMORY)
    is_complete = own_id in listed if own else bool(listed)
    if memory and is_complete and not _is_time_to_look(cache, memory):
        return listed, memory
    memory, minions = _look_at_all(cache, memory, own_id, key if own else "")
    found = {name for name, (_stamp, of) in minions.items() if of == key} | {own_id}
    missing = found - _listed(cache, key) - {own_id}
    if all(_enter(cache, key, name) for name in sorted(missing)) and own:
        _enter(cache, key, own_id)
    listed = _listed(cache, key)
    if own and not found <= listed:
        _remove(cache, f"{LISTS}/{key}")
    return found | listed, memory


def _is_time_to_look(cache, memory):
    """Whether all minions have to be looked at, and no other pillar does it now."""
    now = int(time.time())
    if abs(now - memory["looked"]) < SECONDS_BETWEEN_LOOKS:
        return False
    _store(cache, *MEMORY, looked=now, doubted=memory["doubted"])
    # Where nothing can be stored, each pillar would have to look.
    return _fetch(cache, *MEMORY).get("looked") == now


def _look_at_all(cache, memory, own_id, own_key):
    """
    The memory, and ``{minion: [time of its cache entry, key of its cluster]}`` of all minions.
    Each of them that is not where the look before found it is entered in the list of its cluster.
    """
    before, known, accepted = _known_to_last_look(cache, memory)
    minions = {}
    for name in {*(cache.list(GRAINS) or ()), *known, *accepted}:
        last = known.get(name)
        each = _heard(cache, name, last)
        if each and each is not last:
            # A minion that was a node stays in the list: its claim says what it is now.
            key = _key(each[1]["cluster"]) if each[1] else last[1] if last else ""
            minions[name] = [each[0], key]
        elif last and (each or _accepted([name])):
            minions[name] = last
    # A node that moves is a member of its old cluster until the cached grains of it say otherwise.
    stamp, key = minions.get(own_id, [0, ""])
    minions[own_id] = [stamp, key or own_key]
    entered = known if memory else {}
    failed = _move(cache, entered, minions, own_id)
    _store(cache, *MINIONS, minions={k: v for k, v in minions.items() if k not in failed})
    # A minion that was never heard has never been in an ipset, so nothing depends on it. Only when
    # this memory begins is that not known.
    now = int(time.time())
    doubted = before.get("doubted", dict.fromkeys(accepted, now))
    doubted = {name: since for name, since in doubted.items() if name not in minions}
    _store(cache, *MEMORY, looked=now, doubted=doubted)
    return {"looked": now, "doubted": doubted}, minions


def _known_to_last_look(cache, memory):
    """
    The memory, where that look found the minions, and those to look at besides. When a memory
    begins, they are all that are accepted, and one entry of layout 3 may have what is known.
    """
    if memory:
        return memory, _fetch(cache, *MINIONS).get("minions", {}), set()
    before = _fetch(cache, *BEFORE, layout=3)
    known = {
        name: [stamp * SECOND, _key(claim["cluster"]) if claim else ""]
        for name, (stamp, claim) in before.get("claims", {}).items()
    }
    return before, known, set(CkMinions(__opts__).check_minions("*", "glob")["minions"])


def _move(cache, old, new, own_id):
    """Move minions from one list to another, or out of all; the names of those that are in none."""
    failed = set()
    for name in sorted({*old, *new}):
        source, target = (each.get(name, [0, ""])[1] for each in (old, new))
        # This minion is entered after the others of its cluster.
        if target not in ("", source) and name != own_id and not _enter(cache, target, name):
            failed.add(name)
        elif source not in ("", target):
            _remove(cache, f"{LISTS}/{source}", name + LISTED)
            if not _listed(cache, source):
                _remove(cache, f"{LISTS}/{source}")
                _remove(cache, CLAIMS, source)
    return failed


def _doubted(cache, memory, own_id):
    """The minions of which nothing has been known since the memory began."""
    now = int(time.time())
    doubted = memory["doubted"]
    accepted = _accepted(set(doubted) - {own_id})
    still = {
        name: since
        for name, since in doubted.items()
        if name in accepted and now - since < DAYS_OF_DOUBT * DAY and not _heard(cache, name, None)
    }
    if still != doubted:
        _store(cache, *MEMORY, looked=memory["looked"], doubted=still)
    return still


# -- the caches of the master ----------------------------------------------------------------------


def _accepted(names):
    """Those of these minions whose key is accepted. Salt can list all keys only, at some cost."""
    driver = __opts__.get("keys.cache_driver", "localfs_key")
    if driver != "localfs_key":
        keys = Cache(__opts__, driver=driver)
        return {name for name in names if _state(keys, name) == "accepted"}
    root = __opts__["cluster_pki_dir" if __opts__.get("cluster_id") else "pki_dir"]
    return {name for name in names if os.path.isfile(os.path.join(root, "minions", name))}


def _state(keys, name):
    return (keys.fetch("keys", name) or {}).get("state")


def _stamp(cache, name):
    """When the cache entry of a minion was written, in nanoseconds; ``None`` if there is none."""
    bank, key = _entry(name)
    if cache.driver != "localfs":
        seconds = cache.updated(bank, key)
        return None if seconds is None else seconds * SECOND
    # As the driver does, which takes thirty times as long, and rounds.
    try:
        return os.stat(os.path.join(cache.cachedir, bank, f"{key}.p")).st_mtime_ns
    except OSError:
        return None


def _entry(name):
    return ("grains", name) if OWN_BANK else (f"minions/{name}", "data")


def _cached_grains(cache, name):
    try:
        data = cache.fetch(*_entry(name))
        return data if OWN_BANK else data.get("grains")
    except Exception:  # from a cache driver or a broken entry: it costs one minion, not the pillar
        log.warning("The cached grains of %s cannot be read", name, exc_info=True)
        return None


def _key(cluster):
    # A minion chooses the name of its cluster, and it becomes that of a file.
    return hashlib.sha256(repr(cluster).encode()).hexdigest()[:32]


def _listed(cache, key):
    keys = cache.list(f"{LISTS}/{key}") or ()
    return {each[: -len(LISTED)] for each in keys if each.endswith(LISTED)}


def _enter(cache, key, name):
    """Enter a minion in the list of a cluster, or remove the list. Return whether it is there."""
    bank = f"{LISTS}/{key}"
    if _store(cache, bank, name + LISTED):
        return True
    _remove(cache, bank)
    return False


def _fetch(cache, bank, key, layout=LAYOUT):
    try:
        shared = cache.fetch(bank, key)
        return shared if shared.get("layout") == layout else {}
    except Exception:  # missing or unreadable: nothing is known yet, and it is written again
        return {}


def _store(cache, bank, key, **data):
    try:
        cache.store(bank, key, {"layout": LAYOUT, **data})
    except Exception:  # a full disk slows the next pillar down, but fails none
        log.warning("%s/%s, which pillars share, cannot be stored", bank, key, exc_info=True)
        return False
    return True


def _remove(cache, bank, key=None):
    try:
        cache.flush(bank, key)
    except Exception:  # from a cache driver: what is left is looked at in vain
        log.warning("%s, which pillars share, cannot be removed", bank, exc_info=True)
