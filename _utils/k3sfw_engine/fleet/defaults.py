"""How much of an answer is sent, believed and shown, each figure with its reason. Pure."""

# Problems of one check that a node sends; the others are counted. A node that reaches no peer has
# about twenty for each of its eight peers.
PROBLEMS_SENT = 200

# Times of last proofs that a node sends, the oldest ones. Together they grow with the square of the
# nodes: 5,000 nodes would send half a gigabyte without this, and 50 MB with it.
PROOFS_SENT = 500

# Sentences of one check that are neither a problem nor its evidence.
NOTICES_SENT = 50

# A text that a minion sends is evidence or a name. The longest of ours has about 1,000 characters:
# a rule with all its ports.
LONGEST_TEXT = 2000

# Names of sources or nodes in one line of a difference: with more, the number says more than they.
NAMES_OF_A_CHANGE = 12

# Test cases in a file for a CI. Jenkins keeps all of them for each build: 300 nodes with 18 rows.
MOST_CASES = 5400

# Rows of the tables that a minion may claim to have asked about, and parts of a promise. Shipped
# are 34 rows.
MOST_ROWS = 2000
MOST_PARTS = 200

# Steps of a packet's way that a minion may tell. There are six.
MOST_STEPS = 20

# Nodes that a minion outside of the cluster asks for one promise, and packets that it sends in one
# run: a node that rejects takes a second for each, and nodes are asked at the same time.
NODES_ASKED_FROM_OUTSIDE = 8
PACKETS_FROM_OUTSIDE = 64

# Seconds by which the clock of a node may differ from the master's before its times are not
# believed. NTP keeps clocks together within milliseconds; this forgives a host that has none.
CLOCKS_MAY_DIFFER = 300

# Seconds after which a proof is that of a clock that was not set: a weekly check in which each of
# 500 nodes asks 8 peers comes round within a bit more than a year.
OLDEST_PROOF = 2 * 365 * 86400
