"""The undo program: undoes a transaction of k3sfw whose run cannot do it.

A copy of this folder lies beside the record of the transaction, and runs under the Python of
firewalld: standard library, firewalld's own dbus, the syntax of Python 3.6, relative imports within
this folder. The engine imports it where both need the same.

main                who undoes, when, and in which order
record              the record of a transaction: all that undoes it
step_log            the steps that a transaction noted, and how it ended
confirm_deadline    until when an operator may confirm a transaction
firewalld_process   firewalld over D-Bus, asked, changed and started
restore_runtime     the D-Bus calls that restore a runtime configuration
iptables            the rules of iptables that a reload flushed
drop_table          the table of a reload that was killed, told from panic mode
files               files replaced, and waited for until they are on disk
run_program         programs of the host, run with a deadline
defaults            deadlines and pauses, each with its reason
"""
