"""The calls restore a runtime configuration, whatever was changed in it."""

from __future__ import annotations

import copy

from hypothesis import given, strategies as st

from k3sfw_engine.standalone.undo.restore_runtime import restoring

NAMES = st.sampled_from(["home", "public", "work"])
INTERFACES = ("eth0", "eth1", "wg0")
ENTRIES = st.lists(st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"]), unique=True)
SETTINGS = st.fixed_dictionaries(
    {
        "services": st.lists(st.sampled_from(["ssh", "http"]), unique=True).map(
            lambda names: ("as", names)
        ),
        "ports": st.lists(st.sampled_from([("80", "tcp"), ("53", "udp")]), unique=True).map(
            lambda ports: ("a(ss)", ports)
        ),
        "masquerade": st.booleans().map(lambda flag: ("b", flag)),
        "target": st.just(("s", "default")),
    }
)


@st.composite
def snapshots(draw):
    zones = draw(st.dictionaries(NAMES, SETTINGS, min_size=1))
    # An interface is in one zone, or in none.
    where = {each: draw(st.sampled_from([*sorted(zones), ""])) for each in INTERFACES}
    for name, settings in zones.items():
        settings["interfaces"] = ("as", [each for each in INTERFACES if where[each] == name])
    return {
        "zones": zones,
        "policies": draw(st.dictionaries(NAMES, SETTINGS)),
        "ipsets": draw(st.dictionaries(NAMES, ENTRIES)),
        "direct": {"rules": draw(st.lists(st.just(["ipv4", "filter", "INPUT", 0, ["-j", "LOG"]])))},
    }


def carry_out(state, calls):
    """What firewalld would have after these calls; it refuses an interface of another zone."""
    state = copy.deepcopy(state)
    for interface, method, _signature, arguments in calls:
        if interface == "ipset":
            name, entry = arguments
            entries = state["ipsets"][name]
            assert (entry in entries) == (method == "removeEntry")
            (entries.remove if method == "removeEntry" else entries.append)(entry)
        elif interface == "direct":
            rules = state["direct"]["rules"]
            (rules.append if method == "addRule" else rules.remove)(list(arguments))
        elif method == "changeZoneOfInterface":
            name, moved = arguments
            for zone, settings in state["zones"].items():
                others = [each for each in settings["interfaces"][1] if each != moved]
                settings["interfaces"] = ("as", others + [moved] * (zone == name))
        else:
            name, settings = arguments
            objects = state["zones" if interface == "zone" else "policies"]
            for each in settings.get("interfaces", ("as", []))[1]:
                bound = [zone for zone, own in objects.items() if each in own["interfaces"][1]]
                assert bound in ([], [name])
            assert "target" not in settings, "firewalld changes it only with a reload"
            objects[name].update(settings)
    return state


def plain(objects):
    """Without orders, and without interfaces, which may be in a zone that only one side has."""
    return {
        name: {
            key: sorted(value[1]) if isinstance(value[1], list) else value[1]
            for key, value in settings.items()
            if key != "interfaces"
        }
        for name, settings in objects.items()
    }


@given(snapshots(), snapshots())
def test_objects_that_are_in_both_are_restored_and_nothing_else_changes(before, after):
    then = carry_out(after, restoring(before, after))
    for what in ("zones", "policies"):
        now, was = plain(then[what]), plain(before[what])
        assert set(now) == set(after[what])
        assert {name: now[name] for name in now if name in was} == {
            name: was[name] for name in was if name in now
        }
        assert {name: now[name] for name in now if name not in was} == {
            name: plain(after[what])[name] for name in now if name not in was
        }
    for name, entries in then["ipsets"].items():
        assert set(entries) == set(before["ipsets"].get(name, after["ipsets"][name]))
    assert bool(then["direct"]["rules"]) == bool(before["direct"]["rules"])


@given(snapshots())
def test_an_interface_returns_to_its_zone_from_any_other(before):
    after = copy.deepcopy(before)
    first = sorted(after["zones"])[0]
    for name, settings in after["zones"].items():
        settings["interfaces"] = ("as", list(INTERFACES) if name == first else [])
    then = carry_out(after, restoring(before, after))
    assert {name: sorted(each["interfaces"][1]) for name, each in then["zones"].items()} == {
        name: sorted(each["interfaces"][1]) for name, each in before["zones"].items()
    }


@given(snapshots())
def test_an_unchanged_configuration_needs_no_call(snapshot):
    assert list(restoring(snapshot, copy.deepcopy(snapshot))) == []
