"""Another firewalld than the machine's, to run the tests against it.

``K3SFW_FIREWALLD`` names a folder with its files: ``dpkg --extract`` of Debian's ``firewalld`` and
``python3-firewall``.
"""

import os

FOLDER = os.environ.get("K3SFW_FIREWALLD")


def put_on(host):
    """Install it on the host, if one is given."""
    if FOLDER:
        host.stop_firewalld()
        host.run(["cp", "-a", f"{FOLDER}/.", "/"])
        host.start_firewalld()


def library():
    """What a Python that is started outside of the host needs to find its library."""
    return {"PYTHONPATH": f"{FOLDER}/usr/lib/python3/dist-packages"} if FOLDER else {}
