"""How the master asks nodes and reads their answers, each figure with its reason."""

# Nodes that are asked at once. Each of them has the master compile its pillar, which a master with
# its five workers does for a hundred in a few seconds.
NODES_AT_ONCE = 100

# Seconds of silence after which an operator is told how far a run is.
TELL_AFTER = 5.0

# Answers of 5,000 nodes that asked each other in full have about 500 MB.
LARGEST_ANSWERS = 1_000_000_000
