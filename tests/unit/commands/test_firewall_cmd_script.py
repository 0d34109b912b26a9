"""The shell script makes exactly the objects that an apply makes."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.commands.firewall_cmd_script import firewall_cmd_script
from k3sfw_engine.model.firewall_objects import Kind, by_key, make_object
from tests.unit.samples import as_read, pillars, wanted

ADDITIONS = {
    "--add-entry": "entries",
    "--add-interface": "interfaces",
    "--add-ingress-zone": "ingress_zones",
    "--add-egress-zone": "egress_zones",
    "--add-rich-rule": "rich_rules",
}
KINDS = {f"--{kind.value}": kind for kind in Kind}


def made_by(text):
    """The objects that firewall-cmd would make of the script; it fails where firewall-cmd would."""
    made = {}
    for line in text.splitlines():
        if not line.startswith("firewall-cmd --permanent "):
            continue
        options = [word.partition("=")[::2] for word in shlex.split(line)[2:]]
        (first, name), *rest = options
        if first.startswith("--new-"):
            kind = Kind(first[len("--new-") :])
            assert (kind, name) not in made
            made[kind, name] = (
                {
                    "type": rest[0][1],
                    "options": tuple(value for option, value in rest[1:] if option == "--option"),
                }
                if kind is Kind.IPSET
                else {}
            )
            continue
        settings_of = made[KINDS[first], name]
        ((option, value),) = rest
        if option in ADDITIONS:
            values = settings_of.setdefault(ADDITIONS[option], ())
            assert value not in values
            settings_of[ADDITIONS[option]] = (*values, value)
        elif option == "--add-forward":
            settings_of["forward"] = True
        else:
            setting = option[len("--set-") :]
            settings_of[setting] = int(value) if setting == "priority" else value
    return by_key(as_read(kind, name, each) for (kind, name), each in made.items())


@given(pillars(), st.sampled_from(["server", "agent"]))
def test_the_script_makes_exactly_the_objects_that_an_apply_makes(tree, role):
    objects = wanted(tree, role).objects
    assert made_by(firewall_cmd_script(objects)) == objects


def test_the_script_stops_at_the_first_error_and_reloads_once_at_its_end():
    lines = firewall_cmd_script(wanted().objects).splitlines()
    assert lines[0] == "#!/bin/sh"
    assert lines.index("set -e") == 2
    assert lines[-1] == "firewall-cmd --reload"
    assert lines.count("firewall-cmd --reload") == 1
    assert all(line.startswith("firewall-cmd --permanent ") for line in lines[3:-1])


def test_the_script_ends_with_a_newline_and_has_no_tabs_or_blank_lines():
    text = firewall_cmd_script(wanted().objects)
    assert text.endswith("\n")
    assert "" not in text.splitlines()


@pytest.mark.parametrize(
    "line",
    [
        "firewall-cmd --permanent --new-ipset=k3s-server-4 --type=hash:net --option=family=inet",
        "firewall-cmd --permanent --ipset=k3s-server-4 --add-entry=192.0.2.11",
        "firewall-cmd --permanent --new-zone=k3s",
        "firewall-cmd --permanent --zone=k3s --add-interface=cni0",
        "firewall-cmd --permanent --policy=k3s-rows --set-priority=-500",
        'firewall-cmd --permanent --policy=k3s-rows \'--add-rich-rule=rule family="ipv4" source '
        'ipset="k3s-server-4" port port="2379-2380" protocol="tcp" accept\'',
    ],
)
def test_an_auditor_finds_this_line(line):
    assert line in firewall_cmd_script(wanted().objects).splitlines()


def test_objects_are_created_before_the_policies_that_refer_to_them():
    lines = firewall_cmd_script(wanted().objects).splitlines()
    made = [line.split("--new-")[1].split("=")[0] for line in lines if "--new-" in line]
    assert made == sorted(made, key=["ipset", "zone", "policy"].index)


def test_the_same_objects_give_the_same_script():
    assert firewall_cmd_script(wanted().objects) == firewall_cmd_script(wanted().objects)


def test_a_value_with_quotes_stays_one_word_for_the_shell():
    text = 'it\'s "$(reboot)"; `x`'
    objects = by_key([make_object(Kind.ZONE, "k3s", {"description": text})])
    assert made_by(firewall_cmd_script(objects)) == objects


def test_without_objects_the_script_has_only_its_frame():
    assert len(firewall_cmd_script({}).splitlines()) == 4
