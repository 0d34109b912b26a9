"""The data that all packages share, and calculations with it. Pure: no files, D-Bus or clock.

rows                   rows, roles, sources, nodes and tables, as the pillar names them
tables_digest          a digest of what the pillar says, to compare nodes
protocol_names         a protocol as it is written: by its name or number
row_sources            which networks and ipsets the source column of a row names
addresses              networks and addresses, read strictly
address_set            sets of addresses of one family: union, intersection, difference
names_of_addresses     sets of addresses in the words of the tables
port_ranges            ranges of ports, compared and subtracted
source_script          what the example script of the source document opens
firewall_objects       ipsets, zones and policies as D-Bus has them; the names and mark of ours
rich_rules             rich rules, ours and those of others
difference             a difference of an object in one layer, and its public form
zone_bindings          the interfaces and sources that firewalld's zones are bound to
zones                  zones, services and the rules of others, as they were read
rule_matches_packet    whether a rich rule of ours accepts a packet
interfaces_and_routes  interfaces, routes, neighbours and forwarding entries of the kernel
overlay                the tunnels of pods' packets, and what flannel wrote down
kubernetes_names       the interface names, overlay devices and ports of Kubernetes
datastore              the datastore of a K3s server
sysctl_names           the sysctls that decide about forwarded packets
filter_chains          how a chain of another firewall ends, by its rules
host_facts             other facts about a host: sysctls, base chains, ufw, NetworkManager
listeners              listening sockets
node_services          what serves ports on this node
critical_processes     processes and tunnels that an apply must not cut off, by name and port
live_connections       what lives here: connections of peers, and sockets that wait for them
nat                    ports that destination NAT redirects
ipvs                   services that kube-proxy gave to the kernel's IPVS
host_ports             the hostPorts of pods
portmap_rules          iptables' rules of hostPorts, as the CNI plugin portmap writes them
portmap_nft_rules      nft's rules of hostPorts, as the same plugin writes them
packet_question        a packet to send, what came back, and packets that were recorded
echo                   ICMP echoes, and what came back
version_order          which of two versions of k3sfw is the newer one
run_result             what a run changed, and the sentences about it for the operator
exposition             metrics in Prometheus's text format
"""
