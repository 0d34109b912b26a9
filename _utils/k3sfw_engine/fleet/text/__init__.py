"""The text of any answer of k3sfw, for a terminal of 80 columns; one file for each view.

render        the entry: chooses the view by what the answer says it is
style         colours, indented paragraphs, and text of minions that cannot move the cursor
node_reports  what check_ports, check_routes and check_zones return on nodes
check_lines   the whole cluster: each cause with its fix, and how much was asked
promise_lines     which promises are kept, broken, or neither
difference_lines  what two tables let in differently
opening_lines     who reaches a port, and what a source reaches
packet_way    the way of a packet through a node, and what the packet showed
role_table    role by role, who gets in at which ports
report_written   where the page of a cluster was written
failure       why a function of the master could not do its work
"""
