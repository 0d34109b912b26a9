"""The figures of the plan, each with its reason or measurement."""

from __future__ import annotations

# Before every zone, with room on both sides for the operator's own policies.
PRIORITY = -500

# Entries change one by one without a gap, at 3 ms each; with more changes than this, one flush and
# refill (80 ms for a thousand entries) is the lesser evil.
ENTRIES_ONE_BY_ONE = 200

# firewalld changes rules one by one, and checks all that it has at each: 6 ms, and 0.1 ms more for
# each rule that it has. From this many on they are compared with a reload (0.5 s), which loads all
# of them at once and holds new connections up meanwhile.
RULES_ONE_BY_ONE = 50

# An ipset that is new to a running firewalld needs a reload. Instead, up to this many runtime rules
# name its addresses one by one. The permanent rules name the ipset, which the next reload creates.
ADDRESSES_IN_PLACE_OF_AN_IPSET = 64

# From this many new items on, a trial start of firewalld (0.3 s) takes no longer than the change:
# at runtime an entry takes firewalld 6 ms, a rule 13 ms.
NEW_ITEMS_WORTH_A_TRIAL = 50

# Longer lists are unreadable in a sentence; ``changes`` has all items.
ITEMS_IN_A_SENTENCE = 6

# Sentences about one promise: a broken one often has the same cause in every part.
PARTS_OF_A_PROMISE = 4
