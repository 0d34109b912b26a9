"""Finds and repairs damage left by a killed or reloaded firewalld, or by a full disk.

repair                what is damaged, and the order in which it is healed
leftover_drop_table   the table of a reload in which firewalld was killed
lost_host_ports       the rules of pods' hostPorts that a reload of firewalld flushed
repair_files          our files that firewalld cannot load
known_damage          the types: one damage, and the result of a repair
messages              everything that healing says
defaults              limits, each with its reason
"""
