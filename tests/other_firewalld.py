"""Another firewalld than the machine's, or another backend, to run the tests against it.

``K3SFW_FIREWALLD`` names a folder with its files: ``dpkg --extract`` of Debian's ``firewalld`` and
``python3-firewall``. ``K3SFW_FIREWALLD_SETTINGS`` is a list of settings of ``firewalld.conf``, such
as ``FirewallBackend=iptables``, with spaces between them.
"""

import os

FOLDER = os.environ.get("K3SFW_FIREWALLD")
SETTINGS = os.environ.get("K3SFW_FIREWALLD_SETTINGS", "").split()

_CONFIGURATION = "/etc/firewalld/firewalld.conf"
# A file of the machine's that the other one does not have is not to be mixed with it.
_REPLACED = ("/usr/lib/firewalld", "/usr/lib/python3/dist-packages/firewall", "/etc/firewalld")


def put_on(host):
    """Install it on the host, if one is given."""
    if not FOLDER and not SETTINGS:
        return
    host.stop_firewalld()
    if FOLDER:
        host.run(["rm", "-rf", *_REPLACED])
        # Older packages have a folder where the host has a link: /lib.
        unpack = "tar --extract --directory=/ --keep-directory-symlink"
        host.run(["sh", "-c", f"tar --create --directory='{FOLDER}' . | {unpack}"])
    configure(host, *SETTINGS)
    host.start_firewalld()


def configure(host, *settings):
    """Set these in the host's firewalld.conf, where they stay until firewalld is started again."""
    file = host.path(_CONFIGURATION)
    names = [setting.partition("=")[0] for setting in settings]
    lines = file.read_text().splitlines()
    kept = [line for line in lines if line.partition("=")[0] not in names]
    file.write_text("\n".join([*kept, *settings]) + "\n")


def library():
    """What a Python that is started outside of the host needs to find its library."""
    return {"PYTHONPATH": f"{FOLDER}/usr/lib/python3/dist-packages"} if FOLDER else {}


def has_policies():
    """Whether it has policies, as every firewalld from 0.9 on."""
    server = f"{FOLDER}/usr/lib/python3/dist-packages/firewall/server/config_policy.py"
    return not FOLDER or os.path.exists(server)
