"""The cluster as the master sees it: the answers of many nodes, grouped, and every form of them.

answers       what nodes answered, as types and as the data that is sent and saved
read_answers  reads that data back: every fault at once, a node's own or a file's
believed      what the master believes of an answer: nothing beyond its own tables
group         groups the problems of all nodes by cause
causes        a cause: what is wrong, at which nodes, and what it explains
blame         who is at fault by one problem of one node
reasons       what problems that name their culprit also explain
reachable_pairs
              between which nodes anything passes, and who is cut off
since         what changed since older answers: causes that are new, fixed, or still there
coverage      pairs asked, nodes silent, the oldest proof
messages      every sentence about a cause
outside_packets     promises asked by minions outside of the cluster
promise_report      what tables make of the promises
broken_by_change    the promises that a change breaks
lost_connections    the live connections that a change would refuse
asked_of_tables     ports, sources and destinations as an operator types them
who_reaches         who reaches a port, and what a source reaches
proven_pairs        which packets of the saved answers prove it
tables_difference   what two tables let in differently
trusted_fix   which fixes an operator may paste without reading
redirected_ports    the ports that Kubernetes redirects past the rows
role_matrix   role by role: which sources get in at which ports, by the tables
packet_evidence   the way of a packet as a node tells it, and what the packet showed
returned      what a function of the master returns: data for a view, and salt-run's exit code
defaults      how much of an answer is sent, believed and shown
overview      the whole cluster in one answer: verdict, causes, promises, coverage
forms         the forms of an answer that other programs read
page          the page of a cluster, as one HTML file
text          the text of any answer, for a terminal of 80 columns

Pure: it asks no minion and writes no file; ``master`` does. Whatever a minion sent is data here.
"""
