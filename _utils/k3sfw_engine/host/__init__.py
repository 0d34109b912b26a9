"""This host, read and (little) changed. Knows no firewalld and judges nothing.

run_program           find, start and end programs: environment, deadline
atomic_files          replace files as a whole or not at all
lock                  one run at a time on a host
defaults              how long programs, kernel and daemons may take
iproute               interfaces, routes and neighbors, with ip and bridge
live_connections      connections of ssh, Salt, etcd and the API server that must stay open
listeners             processes that listen on this host
sysctls               the sysctls that decide about forwarded packets
network_manager       the interfaces that NetworkManager manages
other_managers        flannel, ufw and nm-cloud-setup, from their files
dns                   the addresses of the Salt masters, and the names in /etc/hosts
nft_command           tables and chains of the kernel, with the program nft
nft_netlink           single tables of the kernel, over netlink: microseconds
iptables_save_restore iptables rules saved before a reload and restored after it
nat                   destination NAT on this host, whichever program made it
nat_iptables, nat_nft the two formats it is read from
nat_redirections      packets followed through NAT chains to the ports that are redirected
"""
