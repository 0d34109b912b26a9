"""firewalld's files are read back as they were written, and no content makes reading fail."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import netaddr
import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.errors import EngineError
from k3sfw_engine.firewalld.permanent import (
    as_they_are,
    contents_of,
    put_back_files,
    put_files,
    read_permanent,
)
from k3sfw_engine.model.firewall_objects import Kind, by_key, digest, make_object
from k3sfw_engine.model.rich_rules import RichRule, UnparsedRule
from k3sfw_engine.plan.desired.return_path import with_return_path
from tests.unit.samples import pillars, wanted

WANTED = with_return_path(wanted(), [netaddr.IPAddress("203.0.113.5")], [4505, 4506]).objects
FOLDERS = {Kind.IPSET: "ipsets", Kind.ZONE: "zones", Kind.POLICY: "policies"}


def write(folder, kind, name, text):
    path = Path(folder) / FOLDERS[kind] / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def put(folder, objects, gone=()):
    put_files(contents_of(objects, gone, Path(folder)))


def read(folder, *more):
    return read_permanent((Path(folder), *more))


@given(pillars(), st.sampled_from(["server", "agent"]))
def test_a_written_object_is_read_back_the_same(tree, role):
    objects = wanted(tree, role).objects
    with tempfile.TemporaryDirectory() as folder:
        put(folder, objects.values())
        found = read(folder)
    assert found.objects == objects
    assert found.damaged == frozenset()
    assert found.bindings.interfaces == dict.fromkeys(
        objects[Kind.ZONE, "k3s"].items("interfaces"), "k3s"
    )


def test_the_return_path_too_is_read_back_the_same(tmp_path):
    put(tmp_path, WANTED.values())
    assert read(tmp_path).objects == WANTED


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=40))
def test_a_text_with_any_printable_characters_is_read_back_the_same(text):
    each = make_object(Kind.ZONE, "k3s", {"description": text, "short": text})
    with tempfile.TemporaryDirectory() as folder:
        put(folder, [each])
        assert read(folder).objects == by_key([each])


def test_a_file_is_replaced_as_a_whole_and_leaves_nothing_beside_it(tmp_path):
    each = WANTED[Kind.POLICY, "k3s-rows"]
    write(tmp_path, Kind.POLICY, "k3s-rows", "x" * 100_000)
    put(tmp_path, [each])
    put(tmp_path, [each])
    (path,) = (tmp_path / "policies").iterdir()
    assert path.name == "k3s-rows.xml"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644


def test_files_are_restored(tmp_path):
    write(tmp_path, Kind.POLICY, "k3s-rows", "as it was")
    write(tmp_path, Kind.ZONE, "k3s", "this too")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.xml")}
    wanted_files = contents_of(
        [WANTED[Kind.POLICY, "k3s-rows"], WANTED[Kind.IPSET, "k3s-agent-4"]],
        [(Kind.ZONE, "k3s")],
        tmp_path,
    )
    kept = as_they_are(wanted_files)
    put_files(wanted_files)
    assert {path.name for path in tmp_path.rglob("*.xml")} == {"k3s-rows.xml", "k3s-agent-4.xml"}
    put_back_files(kept)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_a_file_that_cannot_be_written_leaves_all_of_them_as_they_were(tmp_path):
    write(tmp_path, Kind.ZONE, "k3s", "as it was")
    (tmp_path / "policies").write_text("no folder")
    with pytest.raises(
        EngineError, match=r"cannot be written .*policies.* nothing of it was changed"
    ):
        put(tmp_path, [WANTED[Kind.ZONE, "k3s"], WANTED[Kind.POLICY, "k3s-rows"]])
    assert [path.read_text() for path in (tmp_path / "zones").iterdir()] == ["as it was"]


def test_a_file_that_cannot_be_renamed_undoes_those_that_were(tmp_path, monkeypatch):
    write(tmp_path, Kind.ZONE, "k3s", "as it was")
    replace = os.replace

    def refusing(source, target):
        if target.name == "k3s-rows.xml":
            raise PermissionError(1, "Operation not permitted", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refusing)
    with pytest.raises(EngineError, match="nothing of it was changed"):
        put(tmp_path, [WANTED[Kind.ZONE, "k3s"], WANTED[Kind.POLICY, "k3s-rows"]])
    left = {path.name: path.read_text() for path in tmp_path.rglob("*.*") if path.is_file()}
    assert left == {"k3s.xml": "as it was"}


def test_files_left_by_a_killed_run_are_overwritten(tmp_path):
    write(tmp_path, Kind.ZONE, "k3s", "").with_name("k3s.xml.new").write_text("half a fi")
    put(tmp_path, [WANTED[Kind.ZONE, "k3s"]])
    assert [path.name for path in (tmp_path / "zones").iterdir()] == ["k3s.xml"]
    assert read(tmp_path).objects[Kind.ZONE, "k3s"] == WANTED[Kind.ZONE, "k3s"]


def test_the_same_object_is_written_as_the_same_bytes(tmp_path):
    for folder in ("one", "two"):
        put(tmp_path / folder, [WANTED[Kind.POLICY, "k3s-rows"]])
    one, two = sorted(tmp_path.glob("*/policies/k3s-rows.xml"))
    assert one.read_bytes() == two.read_bytes()


def test_the_files_look_as_firewalld_writes_them(tmp_path):
    put(tmp_path, [wanted().objects[Kind.IPSET, "k3s-agent-4"]])
    assert (tmp_path / "ipsets" / "k3s-agent-4.xml").read_text() == (
        "<?xml version='1.0' encoding='utf-8'?>\n"
        '<ipset type="hash:net">\n'
        "  <short>k3s-agent-4</short>\n"
        "  <description>K3s: IPv4 addresses of agent. Kept by k3sfw from pillar "
        f"({digest(Kind.IPSET, 'k3s-agent-4')}).</description>\n"
        '  <option name="family" value="inet" />\n'
        "  <entry>192.0.2.21</entry>\n"
        "  <entry>192.0.2.22</entry>\n"
        "</ipset>"
    )


# -- files that others wrote ---------------------------------------------------------------------


POLICY = """<?xml version="1.0" encoding="utf-8"?>
<policy target="CONTINUE" priority="-500">
  <short>k3s-rows</short>
  <ingress-zone name="ANY"/>
  <egress-zone name="HOST"/>
  {}
</policy>
"""


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        (
            '<rule family="ipv4"><port protocol="tcp" port="22"/><source ipset="k3s-node-4"/>'
            "<accept/></rule>",
            'rule family="ipv4" source ipset="k3s-node-4" port port="22" protocol="tcp" accept',
        ),
        (
            '<rule family="ipv6">\n<!-- a comment -->\n<source address="2001:db8::/32"/><accept/>'
            "</rule>",
            'rule family="ipv6" source address="2001:db8::/32" accept',
        ),
        (
            '<rule family="ipv4"><source-port port="4505" protocol="tcp"/><accept/></rule>',
            'rule family="ipv4" source-port port="4505" protocol="tcp" accept',
        ),
        (
            '<rule family="ipv4"><port port="30000-32767" protocol="udp"/><accept/></rule>',
            'rule family="ipv4" port port="30000-32767" protocol="udp" accept',
        ),
    ],
)
def test_a_rule_of_our_form_is_the_same_however_its_xml_is_arranged(tmp_path, xml, text):
    write(tmp_path, Kind.POLICY, "k3s-rows", POLICY.format(xml))
    (rule,) = read(tmp_path).objects[Kind.POLICY, "k3s-rows"].rules
    assert (type(rule), str(rule)) == (RichRule, text)


@pytest.mark.parametrize(
    "xml",
    [
        '<rule family="ipv4"><source address="192.0.2.0/24"/><drop/></rule>',
        '<rule family="ipv4"><source address="192.0.2.0/24"/><reject/></rule>',
        '<rule family="ipv4"><source address="192.0.2.0/24" invert="True"/><accept/></rule>',
        '<rule family="ipv4"><source mac="00:11:22:33:44:55"/><accept/></rule>',
        '<rule family="ipv4"><destination address="192.0.2.9"/><accept/></rule>',
        '<rule family="ipv4"><port port="22" protocol="tcp"/><log/><accept/></rule>',
        '<rule family="ipv4"><port port="22" protocol="tcp"/><accept><limit value="1/m"/></accept>'
        "</rule>",
        '<rule family="ipv4" priority="-1"><port port="22" protocol="tcp"/><accept/></rule>',
        '<rule><port port="22" protocol="tcp"/><accept/></rule>',
        '<rule family="ipv4"><service name="ssh"/><accept/></rule>',
        '<rule family="ipv4"><port port="22" protocol="tcp"/><port port="23" protocol="tcp"/>'
        "<accept/></rule>",
        '<rule family="ipv4"><source address="192.0.2.0/24"/></rule>',
        '<rule family="ipv4"><port port="ssh" protocol="tcp"/><accept/></rule>',
        '<rule family="ipv4"><port port="22" protocol="dccp"/><accept/></rule>',
    ],
)
def test_a_rule_of_another_form_is_never_mistaken_for_one_of_ours(tmp_path, xml):
    write(tmp_path, Kind.POLICY, "k3s-rows", POLICY.format(xml))
    found = read(tmp_path)
    if (Kind.POLICY, "k3s-rows") in found.damaged:
        return
    (rule,) = found.objects[Kind.POLICY, "k3s-rows"].rules
    assert isinstance(rule, UnparsedRule)
    assert str(rule).startswith("<rule")


def test_additions_to_our_objects_are_read(tmp_path):
    write(
        tmp_path,
        Kind.POLICY,
        "k3s-rows",
        POLICY.format(
            '<service name="ssh"/><port port="22" protocol="tcp"/><protocol value="gre"/>'
            '<masquerade/><icmp-block name="redirect"/><source-port port="53" protocol="udp"/>'
            '<forward-port port="81" protocol="tcp" to-port="82" to-addr="192.0.2.9"/>'
        ),
    )
    settings_of = read(tmp_path).objects[Kind.POLICY, "k3s-rows"].settings
    assert {key: value for key, value in settings_of.items() if value and value != "k3s-rows"} == {
        "target": "CONTINUE",
        "priority": -500,
        "ingress_zones": ("ANY",),
        "egress_zones": ("HOST",),
        "services": ("ssh",),
        "ports": ("22/tcp",),
        "protocols": ("gre",),
        "masquerade": True,
        "icmp_blocks": ("redirect",),
        "source_ports": ("53/udp",),
        "forward_ports": ("81/tcp/82/192.0.2.9",),
    }


def test_the_sources_of_a_zone_are_written_as_dbus_has_them(tmp_path):
    sources = (
        '<source address="192.0.2.0/24"/><source ipset="friends"/><source mac="00:11:22:33:44:55"/>'
    )
    write(tmp_path, Kind.ZONE, "office", f"<zone>{sources}</zone>")
    zone = read(tmp_path).others[Kind.ZONE, "office"]
    assert zone.items("sources") == ("00:11:22:33:44:55", "192.0.2.0/24", "ipset:friends")


def test_only_objects_named_like_ours_are_read(tmp_path):
    write(tmp_path, Kind.IPSET, "friends", '<ipset type="hash:ip"/>')
    write(tmp_path, Kind.POLICY, "theirs", "<policy/>")
    write(tmp_path, Kind.ZONE, "office", "<zone/>")
    write(tmp_path, Kind.IPSET, "k3smine", '<ipset type="hash:ip"/>')
    (tmp_path / "policies" / "k3s-rows.xml.old").write_text("<policy/>")
    assert list(read(tmp_path).objects) == [(Kind.IPSET, "k3smine")]


def test_the_operators_file_hides_the_packages_file(tmp_path):
    write(tmp_path / "etc", Kind.ZONE, "k3s", "<zone><short>etc</short></zone>")
    write(tmp_path / "usr", Kind.ZONE, "k3s", "<zone><short>usr</short></zone>")
    write(tmp_path / "usr", Kind.ZONE, "k3s-two", "<zone><short>usr</short></zone>")
    found = read(tmp_path / "etc", tmp_path / "usr").objects
    assert found[Kind.ZONE, "k3s"].settings["short"] == "etc"
    assert found[Kind.ZONE, "k3s-two"].settings["short"] == "usr"


@pytest.mark.parametrize(
    "rule",
    [
        "",
        '<rule family="ipv4"><port port="ssh" protocol="tcp"/><accept/></rule>',
        '<rule family="ipv4"><port port="22" protocol="dccp"/><accept/></rule>',
        '<rule family="ipv4"><source address="192.0.2.1"/><drop/></rule>',
    ],
)
def test_an_interface_in_a_zone_of_others_is_read_whatever_else_the_zone_has(tmp_path, rule):
    write(tmp_path, Kind.ZONE, "office", f'<zone><interface name="cni0"/>{rule}</zone>')
    assert read(tmp_path).bindings.interfaces == {"cni0": "office"}


def test_missing_folders_are_empty(tmp_path):
    found = read(tmp_path / "nowhere")
    assert (found.objects, found.damaged, found.bindings.interfaces) == ({}, frozenset(), {})


# -- files that cannot be read --------------------------------------------------------------------


def test_a_truncated_file_is_damaged_and_never_another_object(tmp_path):
    each = WANTED[Kind.IPSET, "k3s-server-4"]
    put(tmp_path, [each])
    path = tmp_path / "ipsets" / "k3s-server-4.xml"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        found = read(tmp_path)
        assert found.objects == {}
        assert found.damaged == {each.key}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"<policy>",
        b'<policy priority="high"/>',
        b'<?xml version="1.0" encoding="nonesuch"?><policy/>',
        b'<?xml version="1.0" encoding="base64"?><policy/>',
        b"<policy>&unknown;</policy>",
        b"<policy>\x00</policy>",
    ],
)
def test_a_file_that_cannot_be_parsed_is_damaged(tmp_path, content):
    write(tmp_path, Kind.POLICY, "k3s-rows", content)
    assert read(tmp_path).damaged == {(Kind.POLICY, "k3s-rows")}


def test_a_link_to_nowhere_is_damaged(tmp_path):
    write(tmp_path, Kind.ZONE, "k3s", "").unlink()
    (tmp_path / "zones" / "k3s.xml").symlink_to("/nowhere")
    assert read(tmp_path).damaged == {(Kind.ZONE, "k3s")}


@given(st.one_of(st.binary(max_size=60), st.from_regex(rb"<(zone|policy)( [a-z]+=\"\w*\")?/?>")))
def test_no_content_of_a_file_makes_reading_fail(content):
    with tempfile.TemporaryDirectory() as folder:
        for kind, name in ((Kind.ZONE, "public"), (Kind.ZONE, "k3s"), (Kind.IPSET, "k3s-node-4")):
            write(folder, kind, name, content)
        found = read(folder)
    assert len(found.objects) + len(found.damaged) == 2


# -- removal --------------------------------------------------------------------------------------


def test_a_file_can_be_removed_twice(tmp_path):
    put(tmp_path, [WANTED[Kind.ZONE, "k3s"]])
    write(tmp_path, Kind.ZONE, "public", "<zone/>")
    for _ in range(2):
        put(tmp_path, [], [(Kind.ZONE, "k3s")])
    assert [path.name for path in (tmp_path / "zones").iterdir()] == ["public.xml"]


def test_a_file_is_removed_with_its_backup_and_others_stay(tmp_path):
    for name in ("k3s.xml.old", "public.xml.old", "k3s.xml"):
        write(tmp_path, Kind.ZONE, "x", "").with_name(name).write_text("<zone/>")
    for _ in range(2):
        put(tmp_path, [], gone=[(Kind.ZONE, "k3s")])
    left = {path.name for path in (tmp_path / "zones").iterdir()}
    assert left == {"public.xml.old", "x.xml"}


# -- whether all zones of others in use drop ------------------------------------------------------

DROPPING, REJECTING = '<zone target="DROP"/>', "<zone/>"


@pytest.mark.parametrize(
    ("default", "files", "in_use", "drop"),
    [
        ("drop", {"drop": DROPPING, "public": REJECTING}, ["drop", "k3s"], True),
        # The default zone counts although no interface is bound to it.
        ("", {"drop": DROPPING, "public": REJECTING}, ["drop"], False),
        ("drop", {"drop": DROPPING, "public": REJECTING}, ["drop", "public"], False),
        # A zone of which the next reload would make use.
        ("drop", {"drop": DROPPING, "mgmt": '<zone><source address="::1"/></zone>'}, [], False),
        # A zone that exists at runtime only.
        ("drop", {"drop": DROPPING}, ["drop", "gone"], False),
        ("drop", {"drop": DROPPING, "k3s": '<zone><interface name="cni0"/></zone>'}, [], True),
    ],
)
def test_every_zone_of_others_in_use_has_to_drop(tmp_path, default, files, in_use, drop):
    if default:
        (tmp_path / "firewalld.conf").write_text(f"# DefaultZone=x\nDefaultZone={default}\n")
    for name, text in files.items():
        write(tmp_path, Kind.ZONE, name, text)
    assert read(tmp_path).zones_of_others_drop(in_use) is drop
