"""The verbs of the master, one file each; ``_runners/k3sfw.py`` gives them what only Salt can do.

check      ask all nodes what their checks find, and judge the whole cluster
report     the page of a cluster, as one HTML file
diff       what two sources of tables let in differently
defaults   how the master asks nodes and reads their answers
saved_answers   the answers in a file that an operator names
test       whether the tables keep the promises
explain    the way of one packet to a node, and what the packet shows
who        which sources reach a port of a node
reach      what a source reaches
tables     role by role, who gets in at which ports

They run where no firewalld is: D-Bus, probes and this host are out of their reach.
"""
