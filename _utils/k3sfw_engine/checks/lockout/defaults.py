"""The figures of the checks against lockout, each with its reason. Pure."""

# As many peers as an operator reads, and as the source of a row names.
PEERS_IN_A_SENTENCE = 8

# So few addresses may well leave at once: a server with IPv4 and IPv6 is two.
ADDRESSES_THAT_MAY_LEAVE = 2

# A list that keeps less than this share of the addresses in force is distrusted: an outage of the
# master's grains cache empties it, and no operator removes half of a cluster in one apply.
SHARE_THAT_MUST_STAY = 0.5
