"""Read this host, and change the little that must be. Asks nothing of firewalld, judges nothing.

run_program           find, start and end programs: environment, deadline
atomic_files          replace files as a whole or not at all
proof_record          when this node last asked each peer by packets
lock                  one run at a time on a host
image                 whether these files are those of another system, as in a chroot
defaults              how long programs, kernel and daemons may take
iproute               interfaces, routes and neighbours, with ip and bridge
overlay               what carries pods' packets to other nodes: tunnels, routes, files
tunnel_devices        tunnel devices and routes by gateways, over rtnetlink
wireguard_port        the port on which a WireGuard device listens
flannel_files         flannel's configuration, networks and MTU, and K3s's data folder
ipvs                  the virtual services of the kernel's IPVS
k3s_records           what else K3s wrote down: its datastore, the cluster's DNS
k3s_service           the service that starts K3s
netlink               messages of netlink, packed and unpacked
live_connections      connections of peers, and the sockets that wait for peers
tracked_packets       peers of UDP and of IP protocols, as the kernel tracks them
ip_protocols_in_use   raw sockets, and the peers of IPsec
tunnels_in_use        tunnels whose packets peers send: overlays of pods, and WireGuard
tunnel_peers          the addresses to which each tunnel device sends
connected_addresses   the far ends of all TCP connections
listeners             processes that listen on this host, and the ports of ssh servers
node_services         what serves ports here: listeners, tunnels, redirections
sysctls               the sysctls that decide about forwarded packets
system_bus            a connection to the system's D-Bus
network_manager       the interfaces that NetworkManager manages
other_managers        traces of other firewalls and network managers in files
metrics_file          the file of metrics that node_exporter reads
text_files            text of small files
dns                   the addresses of the Salt masters, and the names in /etc/hosts
nft_command           tables and chains of the kernel, with the program nft
filter_chains         how the chains of other firewalls end, from iptables-save and nft
nft_netlink           find and remove single nft tables over netlink, in microseconds
iptables_save_restore iptables rules saved before a reload and restored after it
nftables_service      what the end of nftables.service takes along when firewalld starts
nft_tables_save_restore nft tables of others saved before that and restored after it
iptables_programs     find iptables' programs for each kind of its tables
cni_results           the pods with hostPorts, from the results that the CNI keeps
living_pods           which of these pods live
host_ports_in_iptables, host_ports_in_nft
                      find hostPorts that lost the rules of either kind, and write them
udp_flows             UDP flows that the kernel does not redirect any more, removed
nat                   destination NAT on this host, whichever program made it
nat_iptables, nat_nft the two formats it is read from
nat_redirections      follow packets through NAT chains, to find the ports that are redirected
"""
