"""check_ports, judged: are this node's rows in force, and do packets to its peers pass.

row_in_layers       a row in runtime, permanent configuration and kernel, and its listener
questions_to_peers  which packets to send, and what the tables expect of each
port_check          the verdict on a packet that was sent directly
overlay_check       the verdict on a packet through the overlay (VXLAN, WireGuard)
arrival_check       packets of peers that arrived here and were dropped
messages            every sentence of these verdicts
defaults            how many peers and ports are asked, and why
"""
