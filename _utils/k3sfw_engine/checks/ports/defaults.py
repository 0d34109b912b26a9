"""How much check_ports asks, each figure with its reason. Pure."""

# Peers that one run asks. With eight a run takes a second, and as every run asks eight others, a
# schedule of one run a minute covers a cluster of 200 nodes in less than an hour.
PEERS_ASKED = 8

# The steps in which a run goes round the ring of peers: by minutes and by days, as fractions of the
# ring. Computed for 9 to 500 peers: at intervals from a minute to a week every peer is asked within
# 8 times as many runs as there are eights; with minutes alone, a weekly run takes 3,000 times.
GOLDEN_RATIO = 0.6180339887498949
ROOT_OF_TWO = 0.41421356237309515
MINUTES_OF_A_DAY = 24 * 60

# K3s's own listeners that no other host needs: they are on loopback unless the operator bound them
# elsewhere, for a monitoring that has rows of its own. Kubelet's and containerd's, kube-proxy's,
# the controllers' and the scheduler's. https://docs.k3s.io/installation/requirements
K3S_LISTENERS_WITHOUT_ROW = frozenset((6444, 10010, 10248, 10249, *range(10256, 10260)))
# kube-proxy before Kubernetes 1.27 holds these open, and redirects what arrives there.
NODE_PORTS = range(30000, 32768)

# A longer range is asked at its two ends only: a range of thousands would take minutes at a peer
# that rejects, as its kernel sends one ICMP error a second.
PORTS_ASKED_ONE_BY_ONE = 8

# A port that no row names is taken from these: below Kubernetes' NodePorts (30000) and below the
# ports that the kernel gives to clients (32768).
FREE_PORTS = range(20000, 30000)

# A peer that rejects answers once a second, so more packets for promises would take as many
# seconds. What is left of many is asked in the next runs.
PROMISED_PACKETS_TO_A_PEER = 6

# A promise that is left to zones names the networks of a few operators. Each is compared with every
# zone and policy.
NETWORKS_JUDGED_BY_ZONES = 64
