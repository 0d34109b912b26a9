"""nm-cloud-setup, with the units of upstream, as Debian has no package of it."""

import sys
from pathlib import Path

import pytest

from k3sfw_engine.checks.suggested_commands import CLOUD_SETUP_OFF
from lab.booted.booted_host import BootedHost

UTILS = Path(__file__).parents[2] / "_utils"
UNITS = {
    "timer": "[Timer]\nOnBootSec=5min\n[Install]\nWantedBy=timers.target\n",
    "service": "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=NetworkManager.service\n",
}
READ = f"""
import sys
sys.path.insert(0, {str(UTILS)!r})
from k3sfw_engine.commands.check_routes import read_host
print(read_host(["eth0"]).cloud_setup)
"""


@pytest.fixture(scope="module")
def booted():
    with BootedHost() as machine:
        for kind, unit in UNITS.items():
            machine.path(f"/etc/systemd/system/nm-cloud-setup.{kind}").write_text(unit)
        machine.boot()
        yield machine


@pytest.mark.parametrize("enabled", [["timer"], ["service"], ["timer", "service"]])
def test_an_enabled_nm_cloud_setup_is_seen_and_the_fix_disables_it(booted, enabled):
    def seen():
        return booted.run([sys.executable, "-c", READ]).stdout

    assert seen() == "False\n"
    booted.run(["systemctl", "enable", "--now", *(f"nm-cloud-setup.{kind}" for kind in enabled)])
    assert seen() == "True\n"
    booted.run(["sh", "-ec", CLOUD_SETUP_OFF])
    assert seen() == "False\n"
    timers = booted.run(["systemctl", "list-timers", "--all", "--no-legend", "nm-cloud-setup*"])
    assert timers.stdout == ""
