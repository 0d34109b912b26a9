"""The figures that check_routes assumes, each with its reason. Pure."""

# The pod network of a node where nothing on the host shows its length: the defaults of
# kube-controller-manager (--node-cidr-mask-size-ipv4, -ipv6).
USUAL_POD_NETWORK = {4: 24, 6: 64}

# A route with a shorter prefix is a default route in parts, as VPNs create them, and not a network
# that overlaps the cluster's.
SHORTEST_OVERLAP = {4: 8, 6: 16}

# What every host takes (RFC 791, RFC 8200): an overlay is not made smaller.
SMALLEST_MTU = {4: 576, 6: 1280}
