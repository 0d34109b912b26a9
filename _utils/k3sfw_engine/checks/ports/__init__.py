"""check_ports, judged: are this node's rows in force, and do packets to its peers pass.

row_in_layers       is each row in force in every layer, is anything else; its listener
services_of_node    what serves each row here, and what listens against pillar
questions_to_peers  which peers to ask, by which packets, and which answer the tables expect
promised_packets    promises: the packets that this node can send, and what the answers mean
opened_by_zones     what of the operator's zones lets in what a promise denies
port_check          the verdict on a packet that was sent directly, by its answer
overlay_check       the verdict on a packet through the overlay (VXLAN, WireGuard)
arrival_check       packets of peers that arrived here and were dropped
messages            every sentence of these verdicts
defaults            how many peers and ports are asked, and why
"""
