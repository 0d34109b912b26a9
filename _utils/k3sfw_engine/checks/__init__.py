"""Pure judgement: facts that were read come in, verdicts with evidence and fix go out.

verdicts            one question and its answer: status, evidence, fix
report              all answers of a check as status, summary, problems and counts
defaults            the figures that all checks share
suggested_commands  every command that a message suggests, quoted once
node_facts          one node: its place in the tables, its network, its peers
zone_openings       the ports that a firewalld zone or policy opens
zone_of_interface   an interface in a zone that it must not be in
lockout/            what an apply would close that must stay open
ports/              are the rows in force, and do packets pass (check_ports)
routes/             does every packet find its route (check_routes)
zones/              what firewalld's zones mean for the rows (check_zones)

The four folders do not import each other. Nothing here touches the machine.
"""
