"""The prefixes of Kubernetes' interfaces are the same wherever they are listed."""

from __future__ import annotations

import re

import pytest

from _grains import _k3s_addresses as grains
from k3sfw_engine.model.kubernetes_names import (
    CNI_INTERFACES,
    PREFIXES,
    is_interface_of_one_pod,
    is_kubernetes_interface,
)
from tests.paths import ROOT

# Interfaces that bear no address of a node, and do not come from Kubernetes either.
BESIDE = {"docker", "lo", "tailscale"}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_no_interface_of_kubernetes_gives_a_node_its_address(prefix):
    assert grains.is_of_containers(prefix)
    assert grains.is_of_containers(f"{prefix}0")


def test_the_state_of_sysctls_knows_every_interface_of_kubernetes():
    text = (ROOT / "salt/k3s/routes.sls").read_text()
    (listed,) = re.findall(r"name\.startswith\(\(([^)]*)\)\)", text)
    assert set(re.findall(r"'([^']+)'", listed)) - BESIDE == set(PREFIXES)


@pytest.mark.parametrize("name", [name for names in CNI_INTERFACES.values() for name in names])
def test_the_interfaces_of_flannel_are_of_kubernetes_and_of_no_single_pod(name):
    assert is_kubernetes_interface(name)
    assert not is_interface_of_one_pod(name)


@pytest.mark.parametrize("name", ["eth0", "ens3", "enp1s0", "bond0", "wlan0", "docker0", "virbr0"])
def test_other_interfaces_are_not_of_kubernetes(name):
    assert not is_kubernetes_interface(name)
