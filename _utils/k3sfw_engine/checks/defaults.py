"""The figures that all checks share, each with its reason. Pure."""

# A sentence names this many and counts the rest: more is hard to read on a terminal of 80 columns.
NAMES_IN_A_SENTENCE = 6
