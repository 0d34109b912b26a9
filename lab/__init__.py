"""A cluster on one machine: hosts made of Linux namespaces, with real Salt and firewalld.

``python -m lab up`` starts it; tests use ``lab.cluster.Lab``. The lab knows K3s, Salt and firewalld
as an operator installs them, and nothing of what k3sfw does with them. Only ``demo`` does.

    __main__     the command line; ``lab/on`` runs a command on a host
    cluster      a whole lab: up, down, more hosts and fewer
    spec         the hosts as data: names, roles, addresses
    host         one host; ``namespaces`` runs commands in it, ``init`` is its pid 1
    host_files   what is on a new host's disk; ``network`` connects it, ``daemons`` start there
    lab_folder   what a lab keeps on disk; ``lock`` and ``kill_hosts`` find and end its hosts
    other_software   what docker, libvirt and others make of a host
    k3s          what K3s makes of a node: pods, overlay, services
    booted       a host that systemd boots
    demo         ``make demo``: ``demo_steps`` are its steps as data, ``demo_output`` prints them
    connection_stream   new connections during a change
"""
