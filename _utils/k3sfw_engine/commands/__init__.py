"""One file for each verb of ``k3sfw.*``: it puts the other packages together and returns data.

apply, remove        change firewalld to match the tables; take all of it away
prepare              write the rules for a firewalld that is not running yet
adopt                close what the source's example script opened zone-wide
live_peers           the live connections of peers to this node
confirm, rollback    keep a change that waits for confirmation; go back to before a change
history              the changes of this node
plan, status         what an apply would change; whether every layer matches the tables
ask                  packets to named ports, for promises that no node can ask
in_force             the rules in force, and the last tables that were proven
heal                 repair what a killed firewalld or a full disk left
check                the three checks below in one answer, for the master
check_ports          layers, listeners, and packets to peers
check_routes         the routes to nodes, pods, services and clients
check_zones          the zone of every interface, and what allows more than the rows
metrics              the file of metrics, and what each check adds to it
rows                 the rows of this node, and what serves each
explain              which row decides about a packet
firewall_cmd_script  the same rules as firewall-cmd lines

No file here imports another.
"""
