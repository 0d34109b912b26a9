"""The way of one packet through this host's firewall, step by step.

packet_walk       the steps in the order in which the packet meets them, and where it ends
object_decision   what one zone or policy decides about a packet
messages          the steps in words

Pure, as all checks. It knows firewalld and destination NAT; other firewalls on the host are the
matter of the route check.
"""
