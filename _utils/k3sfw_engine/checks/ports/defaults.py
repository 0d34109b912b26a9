"""How much check_ports asks, each figure with its reason. Pure."""

# Peers that one run asks. With eight a run takes a second, and as every run asks the next eight, a
# schedule of one run a minute covers a cluster of 200 nodes in 25 minutes.
PEERS_ASKED = 8

# A longer range is asked at its two ends only: a range of thousands would take minutes at a peer
# that rejects, as its kernel sends one ICMP error a second.
PORTS_ASKED_ONE_BY_ONE = 8

# A port that no row names is taken from these: below Kubernetes' NodePorts (30000) and below the
# ports that the kernel gives to clients (32768).
FREE_PORTS = range(20000, 30000)
