"""From rows to firewalld objects, and from what is observed to the steps that lead there. Pure.

desired/          the ipsets, policies and the zone that a node must have
reach             who gets in where, by the tables: sources of every port of every role
live_reach        who gets in by the rules of a node, each with the row that it came from
reach_in_force    who gets in by the rules in force, whatever tables they were made from
newly_broken      which parts of promises a change breaks, and which were broken before it
promises          judge promises by the reach: kept, broken, not enforceable, unproven
promise_messages  what an operator is told about promises
source_names      addresses as an operator knows them: nodes and groups by name
reach_difference  what of two reaches differs: newly let in, or no longer
intended_change   whether a change is the one that was meant, and nothing else
change_causes     the rows, groups and nodes because of which two tables differ
observed          what firewalld and the kernel have now
difference        the differences between the two, layer by layer
kernel_drift      compare the kernel's rules with what firewalld believes
make_plan         the steps from what is observed to what is wanted, or to nothing of ours
steps             the kinds of steps, each with its sentence
policy_steps      the steps that change a policy or a zone; nothing that stays open closes
ipset_steps       the steps that change the entries of an ipset
needs_trial       whether a plan is worth a trial start of firewalld
superseded_script_rules   what of the source document's example script the tables replace
defaults          the figures: the priority of our policies, limits
messages          what an operator is told about a plan
"""
