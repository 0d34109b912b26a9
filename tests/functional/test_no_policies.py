"""A firewalld before 0.9 has no policies: it is refused in one sentence, and nothing is done."""

import pytest

from tests import other_firewalld

pytestmark = pytest.mark.skipif(
    other_firewalld.has_policies(), reason="needs a firewalld that is too old"
)


def test_a_firewalld_without_policies_is_refused_with_the_version_that_has_them(node, pillar):
    before = node.files()
    for function in ("apply", "compare", "remove"):
        (refused,) = node.try_call(function, None if function == "remove" else pillar)["refused"]
        assert "this firewalld has no policies" in refused
        assert "Fix: update it to 0.9 or newer" in refused
    assert node.files() == before


def test_a_first_start_is_not_prepared_for_it(node, pillar):
    node.host.stop_firewalld()
    before = node.files()
    masters = {"masters": ["192.0.2.10"], "master_ports": [4505, 4506]}
    (refused,) = node.try_call("prepare", pillar, **masters)["refused"]
    assert "this firewalld has no policies" in refused
    assert "Fix: update it to 0.9 or newer" in refused
    assert node.files() == before
