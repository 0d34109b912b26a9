"""The verbs of the master, one file each; ``_runners/k3sfw.py`` gives them what only Salt can do.

returned   what each of them returns: data for a view, and salt-run's exit code

They run where no firewalld is: D-Bus, probes and this host are out of their reach.
"""
