"""The engine on a host whose firewalld is stopped, or that it is told is an image."""

import json
import sys

from tests.functional.hosts import ENGINE_DRIVER

# No master is configured, as on a masterless minion.
NO_MASTER = {"masters": [], "master_ports": []}


def offline(node, function, pillar, *limits, **options):
    """What the engine answers where it is told that this is an image."""
    asked = {"pillar": pillar, "minion_id": "s1", "role": "server", "options": options}
    command = [*limits, "env", "SYSTEMD_OFFLINE=1", sys.executable, str(ENGINE_DRIVER), function]
    return json.loads(node.host.run(command, input=json.dumps(asked)).stdout)
