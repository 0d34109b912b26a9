"""The forms of an answer for other programs; one file each.

junit        the cluster as test results, for a CI
markdown     the difference of two tables, for the conversation about a change
prometheus   the cluster as metrics, for a textfile collector on the master
"""
