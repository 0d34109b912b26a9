"""The figures that all checks share, each with its reason. Pure."""

# Of a longer list only these are named: an operator at a terminal of 80 columns reads no more.
NAMES_IN_A_SENTENCE = 6
