"""Pure judgement: facts that were read come in, verdicts with evidence and fix go out.

verdicts            one question and its answer: status, evidence, fix
report              all answers of a check as status, summary, problems and counts
defaults            the figures that all checks share
suggested_commands  every command that a message suggests, quoted; routes in words
node_facts          what is known of one node, with answers filled in from it
zone_openings       the ports that a firewalld zone or policy opens, and to which sources
kept_ssh            the commands that keep ssh open where a fix moves packets to another zone
zone_of_interface   the zone of an interface, and whether it may be in it
lockout/            what an apply would close that must stay open
ports/              are the rows in force, and do packets pass (check_ports)
routes/             does every packet find its route (check_routes)
metrics/            what a node's checks measured, as metrics
walk/               the way of one packet through this host's firewall (explain)
zones/              what firewalld's zones mean for the rows (check_zones)

The folders do not import each other. Nothing here touches the machine.
"""
