"""What ``make test`` runs, and what it leaves to ``make test-all``."""

import pytest

# The tests that raise hosts or browsers are four fifths of the time. Of them, these are the ones
# that a change of the engine breaks first.
WITH_HOSTS = (
    "tests/cluster/administration/test_states_and_functions.py",
    "tests/cluster/checks/test_check_ports.py",
    "tests/cluster/checks/test_demo.py",
    "tests/cluster/test_first_start.py",
    "tests/cluster/traffic/test_packets.py",
    "tests/cluster/traffic/test_paths.py",
    "tests/functional/test_apply.py",
    "tests/functional/test_downgrade.py",
    "tests/functional/test_drift.py",
    "tests/functional/test_foreign.py",
    "tests/functional/test_guards_on_a_host.py",
    "tests/functional/test_iptables.py",
    "tests/functional/test_paths_of_pods.py",
    "tests/functional/test_probe.py",
    "tests/functional/test_rollback.py",
    "tests/functional/test_shadow.py",
    "tests/functional/test_transaction.py",
    "tests/functional/test_transaction_faults.py",
    "tests/functional/test_unavailable.py",
    "tests/functional/test_undo_program.py",
)
# These start Salt, pip or git for each of their tests.
SLOW_UNITS = (
    "tests/unit/house/test_packaging.py",
    "tests/unit/salt/test_packaged_salts.py",
    "tests/unit/salt/test_report_by_salt.py",
    "tests/unit/salt/test_run_check.py",
    "tests/unit/salt/test_run_sources.py",
    "tests/unit/salt/test_runner.py",
)


def is_left_to_test_all(file):
    """Whether ``make test`` runs nothing of this file."""
    if file.startswith("tests/unit/"):
        return file in SLOW_UNITS
    return file not in WITH_HOSTS


def exhaustive(*values):
    """One set of parameters that only ``make test-all`` runs."""
    return pytest.param(*values, marks=pytest.mark.exhaustive)


def half_of(ones, others):
    """Each of two with each of two; that every one is there once is enough for ``make test``."""
    return [
        (one, other) if place == at else exhaustive(one, other)
        for place, one in enumerate(ones)
        for at, other in enumerate(others)
    ]
