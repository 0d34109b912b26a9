"""What an apply, a rollback or a first start would close that must stay open.

lockout_check           what our objects allow now and would no longer allow
allowed_by_other_rules  whether zones and policies of others allow a packet anyway
after_adoption          the zones of the operator as an adoption will leave them
refusals                each critical connection that would be cut off, with its cause and its fix
listed                  what is closed without being refused, each with a row that keeps it open
overlay_address         an overlay that sends from an address which no node has in the tables
contradicted_role       a role in pillar that contradicts what runs on the node
shrunken_node_list      distrust a node list that suddenly shrank, so that no address is removed
messages                every sentence of these refusals
defaults                how much a node list may shrink, and why
"""
