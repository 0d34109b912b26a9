"""A service manager on a host of the lab, in which no systemd can run."""

# How a machine without systemd starts the real firewalld.
INIT_SCRIPT = """#!/bin/sh
case $1 in
start)
    setsid --fork firewalld --nofork --nopid </dev/null >/var/log/firewalld.out 2>&1
    until firewall-cmd --state >/dev/null 2>&1; do sleep 0.1; done
    ;;
status)
    firewall-cmd --state
    ;;
*)
    exit 2
    ;;
esac
"""


def manage_services(host):
    """Let Salt start firewalld as a service that has not been started yet.

    That is an init script. The grain says systemd all the same, so that the SLS takes the branch of
    a machine with services; Salt's own state starts the service by what it finds. The minion must
    read its grains again.
    """
    host.run(["rm", "/usr/bin/systemctl", "/usr/sbin/runlevel"])
    for path, text in {
        "/etc/init.d/firewalld": INIT_SCRIPT,
        "/usr/sbin/runlevel": "#!/bin/sh\necho N 2\n",
    }.items():
        host.path(path).write_text(text)
        host.path(path).chmod(0o755)
    host.run(["ln", "-s", "/etc/init.d/firewalld", "/etc/rc2.d/S01firewalld"])
    host.path("/etc/salt/grains").write_text("init: systemd\n")
