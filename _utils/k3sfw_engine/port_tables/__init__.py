"""From pillar to port tables: typed rows and nodes, or every fault at once.

merge_pillar   the tree below k3s: the site's values over the defaults and over claims
read_pillar    the entry: the whole tree below the key ``k3s``
read_rows      the rows of both tables, and the operator's groups of addresses
kept_form      tables as plain data, and back: as they are kept and sent
read_tests     the promises: who must reach what, and who must not
single_values  any single value: ports such as 2379-2380, networks, addresses, names, choices
read_nodes     the nodes of the cluster with their roles, pinned by hand or claimed
believed_addresses   which claimed addresses of nodes are believed: each identifies one node
membership     what else the master knows of its minions, and what it cannot know
read_pod_networks   the pod network of each node
read_metrics   whether and where a node writes metrics
messages       the sentences about claims
findings       faults, notices and doubts, collected while reading; values made legible
defaults       K3s's default networks, and the limits of what is accepted

This is the edge: behind it nothing is checked again. Pure.
"""
