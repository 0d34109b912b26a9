"""The forms of an answer for other programs; one file each.

markdown     the difference of two tables, for the conversation about a change
prometheus   the cluster as metrics, for a textfile collector on the master
"""
