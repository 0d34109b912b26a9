#!py
"""
``k3s:nodes``: who is in the cluster of the minion being rendered, by what the master knows.

The master's grains cache holds the grains of every minion since its key was accepted, and forgets
them with the key. Unlike the mine it needs no function to run on the minions first.
"""

import copy
import logging
import time

# Single names: the renderer puts Salt's functions in the place of a module named salt.
from salt.cache import Cache
from salt.utils.minions import CkMinions
from salt.version import __version_info__

log = logging.getLogger(__name__)

# Salt 3008 gave grains a bank of their own; before, they stood beside the pillar of a minion.
OWN_BANK = __version_info__ >= (3008,)
# Where the answer is shared between pillars, and the layout of what is stored there.
SHARED = ("k3sfw", "nodes")
LAYOUT = 2
# A claim is copied into the pillar of every node, so nobody may claim a megabyte.
LONGEST_CLAIM = 4096


def run():
    """
    Give ``k3s:nodes`` where the membership is known, and nothing at all where it is not: an
    unknown cluster must not look like one that has a single node.
    """
    own_id = __opts__["id"]
    if __opts__.get("__role") != "master" or not __opts__.get("minion_data_cache"):
        return {}  # masterless, or a master that remembers nobody
    matched = CkMinions(__opts__).check_minions("*", "glob")
    accepted = set(matched["minions"])
    if own_id not in accepted:
        return {}  # salt-ssh: this master knows neither this host nor its peers by a key
    claims = _claims_of(accepted - {own_id})
    # The cache lags behind the minion that is being rendered: it is written after the pillar.
    claims[own_id] = _claim(__grains__)
    cluster = __grains__.get("k3s_cluster", "default")
    nodes = {
        minion_id: _node(claim)
        for minion_id, claim in sorted(claims.items())
        if claim and claim["cluster"] == cluster
    }
    # Accepted, and yet the master holds no grains of theirs, as after its cache was cleared or
    # Salt was upgraded to 3008: each may be a node, so this membership may lack some.
    unheard = sorted(accepted - set(claims))
    return {"k3s": {"nodes": nodes, **({"unheard_minions": unheard} if unheard else {})}}


def _claim(grains):
    if not grains.get("k3s_role"):
        return {}  # a minion that is no K3s node
    claim = {
        "cluster": grains.get("k3s_cluster", "default"),
        "role": _bounded(grains["k3s_role"]),
        "addresses": _bounded(grains.get("k3s_node_ips", [])),
    }
    # Known only where flannel runs. It helps the checks; nothing is ever opened by it.
    if grains.get("k3s_pod_cidrs"):
        claim["pod_cidrs"] = _bounded(grains["k3s_pod_cidrs"])
    return claim


def _bounded(value):
    text = repr(value)
    return value if len(text) <= LONGEST_CLAIM else f"{text[:80]}…"


def _node(claim):
    # A claim goes on as it is, be it nonsense: the engine names the minion and the value, and
    # judges what it means. Left out here, a live etcd member whose grains broke would be closed
    # out by its peers; an error here would take the pillar from every node of the cluster.
    columns = {name: value for name, value in claim.items() if name != "cluster"}
    # What the grains say, also after a pin by hand replaced any of it.
    return {**columns, "claimed": copy.deepcopy(columns)}


def _claims_of(minion_ids):
    # Reading the grains of all minions for the pillar of each costs more the more there are. So
    # one pillar shares its answer with the next, which reads only the entries written since.
    cache = Cache(__opts__)  # not its factory: that one may remember for some seconds
    known = _shared(cache)
    claims, stamped = {}, {}
    for minion_id in minion_ids.intersection(cache.list("grains" if OWN_BANK else "minions")):
        entry = ("grains", minion_id) if OWN_BANK else (f"minions/{minion_id}", "data")
        now = int(time.time())
        stamp = cache.updated(*entry)
        if stamp is None:
            continue
        if known.get(minion_id, (None,))[0] == stamp:
            claims[minion_id] = known[minion_id][1]
        else:
            grains = _cached_grains(cache, entry)
            if not grains:
                continue
            claims[minion_id] = _claim(grains)
        # Stamps count whole seconds: an entry as young as that can be written again unseen.
        if stamp + 1 < now:
            stamped[minion_id] = [stamp, claims[minion_id]]
    if stamped != known:
        _share(cache, stamped)
    return claims


def _shared(cache):
    try:
        shared = cache.fetch(*SHARED)
        return shared["claims"] if shared.get("layout") == LAYOUT else {}
    except Exception:  # not there yet or not readable: it is only a copy, and is made anew
        return {}


def _cached_grains(cache, entry):
    try:
        data = cache.fetch(*entry)
        return data if OWN_BANK else data.get("grains")
    except Exception:  # whatever a driver or a broken entry raises: one minion, not the pillar
        log.warning("The cached grains of %s cannot be read", "/".join(entry), exc_info=True)
        return None


def _share(cache, stamped):
    try:
        cache.store(*SHARED, {"layout": LAYOUT, "claims": stamped})
    except Exception:  # a full disk costs the next pillar its time, but nobody the pillar
        log.warning("What pillars share of the cluster's nodes cannot be stored", exc_info=True)
