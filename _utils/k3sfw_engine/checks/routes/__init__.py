"""check_routes, judged: does every packet of the cluster find its route, with the right address.

route_check        the whole check, and what is asked for it; own links and addresses, routes to
                   services and clients
node_routes        the routes to the own networks and to the peers' addresses
removable_routes   the routes that a message may suggest to delete
pod_routes         the route to every peer's pods, for each backend of flannel
pod_routes_vxlan   of these, VXLAN: route, neighbour and forwarding entry
pod_networks       the pod network of each node, and what is judged alike for each backend
pillar_against_node  pillar's networks and backend where the node shows other ones
overlay_packets    does TCP pass through the overlay, and not only an echo
network_overlaps   networks that overlap the pod and service networks
required_sysctls   the sysctls that forwarding needs
mtu                do full-sized packets fit
other_firewalls    what else filters packets on this host, or removes its routes
messages           every sentence of these verdicts, but for
pod_messages       those about the routes to pods
defaults           figures that are assumed, and why
"""
