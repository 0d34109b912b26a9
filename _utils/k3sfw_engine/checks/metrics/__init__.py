"""What the checks of a node measured, as a monitoring system reads it.

definitions    every metric of a node, with its help: the only list of them
measurements   what is remembered from one check to the next, and what a check adds to it
saved_form     the same as plain data for a file, read back with suspicion
node_families  the samples of every metric, zeros included

Pure, as all checks: the files are read and written by the command that puts this together.
"""
