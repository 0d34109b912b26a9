"""A rich rule is read from words and from XML, and our own form is known exactly."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.model.rich_rules import Part, UnparsedRule, read_rule, write_rule
from tests.unit.samples import RICH_RULES


@given(RICH_RULES)
def test_a_rule_of_ours_is_read_back_as_it_was_written(rule):
    assert read_rule(str(rule)) == rule
    assert read_rule(str(rule)).parts == rule.parts


@given(RICH_RULES)
def test_the_parts_of_a_rule_of_ours_are_those_of_its_words(rule):
    other = read_rule(f"{rule} log")
    assert isinstance(other, UnparsedRule)
    assert other.parts == (*rule.parts, Part("log", {}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rule accept",
        'rule family="ipv5" accept',
        'rule family="ipv4" port port="22" protocol="tcp" drop',
        'rule family="ipv4" port port="22" protocol="tcp" log accept',
        'rule priority="1" family="ipv4" port port="22" protocol="tcp" accept',
        'rule family="ipv4" port port="22" protocol="tcp" accept\n',
        'rule family="ipv4" source NOT address="192.0.2.1" accept',
        'rule family="ipv4" port port="22" protocol="dccp" accept',
        'rule family="ipv4" port port="22-" protocol="tcp" accept',
        'rule family="ipv4" port port="-22" protocol="tcp" accept',
        'rule family="ipv4" port port="022" protocol="tcp" accept',
        'rule family="ipv4" port port="22" protocol="any" accept',
        "rule family=ipv4 port port=22 protocol=tcp accept",
        '<rule family="ipv4"><source ipset=""/><accept/></rule>',
        'rule family="ipv4" protocol value="vrrp" accept',
        'rule family="ipv4" protocol value="6" accept',
        'rule family="ipv4" protocol value="0" accept',
        'rule family="ipv4" protocol value="0112" accept',
        'rule family="ipv4" protocol value="255" accept',
        '<rule family="ipv4"><protocol value="vrrp"/><accept/></rule>',
        '<rule family="ipv4"><protocol value="17"/><accept/></rule>',
        '<rule family="ipv4"><protocol value="112"/><protocol value="50"/></rule>',
    ],
)
def test_a_rule_of_another_form_keeps_its_text(text):
    rule = read_rule(text)
    assert isinstance(rule, UnparsedRule)
    assert str(rule) == text or text.startswith("<")


def test_a_rule_has_the_same_parts_in_words_and_in_xml():
    words = (
        'rule priority="-5" family="ipv6" source NOT address="2001:db8::/32" service name="ssh" '
        'log prefix="a b" level="info" limit value="1/m" accept limit value="2/s"'
    )
    xml = (
        '<rule priority="-5" family="ipv6"><source address="2001:db8::/32" invert="True"/>'
        '<service name="ssh"/><log prefix="a b" level="info"><limit value="1/m" burst="0"/></log>'
        '<accept><limit value="2/s"/></accept></rule>'
    )
    assert read_rule(words).parts == read_rule(xml).parts


def test_xml_that_cannot_be_parsed_is_an_error():
    with pytest.raises(ValueError, match="cannot be parsed"):
        read_rule("<rule")


names = st.from_regex(r"[a-z][a-z-]{0,8}", fullmatch=True).filter(lambda name: name != "not")
values = st.from_regex(r"[A-Za-z0-9:./ =-]{1,12}", fullmatch=True)


@given(
    st.lists(
        st.builds(Part, names, st.dictionaries(names, values, max_size=3), st.booleans()),
        min_size=1,
        max_size=5,
    ).map(tuple)
)
def test_the_parts_of_a_rule_are_read_as_they_are_written(parts):
    assert read_rule(write_rule(parts)).parts == parts
