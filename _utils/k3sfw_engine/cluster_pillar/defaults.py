"""How much of an answer of a node is believed, each figure with its reason."""

# Shipped are 34 rows of up to four rules; this is far more than firewalld itself can handle.
MOST_RULES = 5000
LONGEST_RULE = 500

# Entries of an ipset; firewalld's own limit for a set is 65536.
MOST_ENTRIES = 65536
