"""How much one page shows, each figure with its reason. Pure."""

# A square of 1,000 nodes has a million pairs: a browser draws it in about a second, and the rows of
# all pairs stay below a megabyte where most are alike. Above, the nodes in problems are shown.
NODES_IN_PICTURE = 1000

# Up to here each pair has a cell in a table that needs no script, and all rows have such a table.
NODES_IN_TABLE = 40
CELLS_IN_TABLES = 8000

# A line of the node list has about 700 bytes.
NODES_LISTED = 1000

# An operator reads the first few; the rest is counted.
PROBLEMS_SHOWN = 100
PACKETS_SHOWN = 40
NOTICES_SHOWN = 100

# Evidence for pairs of the picture: one entry has about 150 bytes.
NOTES_KEPT = 2000

# The answers in the page, compressed and in base64: a page is at most 5 MB.
LARGEST_ANSWERS = 2_500_000
