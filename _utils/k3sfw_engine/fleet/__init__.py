"""The cluster as the master sees it: the answers of many nodes, grouped, and every form of them.

text   the text of any answer, for a terminal of 80 columns

Pure: it asks no minion and writes no file; ``master`` does. Whatever a minion sent is data here.
"""
