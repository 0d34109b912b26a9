"""check_zones, judged: what firewalld's zones mean for the rows and for pods.

zone_check       the whole check: interfaces of pods, sources, leftovers
every_target     each zone in use with its target in both layers
every_interface  each interface with its zone and what that means
zone_facts       what is known of the node's zones, beside what the tables say
wider_than_rows  zones that open a port to more sources than its rows do
allowed_by_rows  the sources that the rows allow at a port
bypassed_by_nat  rows that NAT bypasses, as it acts before any rule
needed_by_ipvs   ports that kube-proxy serves by IPVS, on which rows decide
lost_host_ports  hostPorts of pods that no rule redirects any more
messages         every sentence of these verdicts
"""
