"""The forms of an answer for other programs; one file each.

prometheus   the cluster as metrics, for a textfile collector on the master
"""
