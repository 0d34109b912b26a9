"""The tables of the whole cluster on the master: where they come from, compiled and read.

pillar_source    an environment, a git reference, a folder, or what nodes have in force
cluster_tables   the tables of the cluster, compiled as its minions get them
nodes_in_force   what nodes have in force: digests first, then one node for all that are alike
defaults         how much of a node's answer is believed
named_files      files that an operator names, written as a whole
preview_cache/   the master's cache as previews see it: it cannot be written
lines_of_pillar  the file and line of rows, groups and promises

It touches the master's files and git only; what Salt alone can do comes in as functions.
"""
