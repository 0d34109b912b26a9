"""A real cluster on one machine: hosts made of Linux namespaces, nothing simulated.

``python -m lab up`` raises it, ``lab.cluster.Lab`` is the same for tests. The lab
knows K3s, Salt and firewalld as an operator installs them, and nothing of what this
project does with them.
"""
