"""A change of the firewall that proves itself, or is undone completely.

run                  one change of a running firewalld: observe, plan, guard, carry out
before_first_start   one change of the files of a firewalld that does not run yet
validate_files       files validated where no firewalld runs that would do it
compare              the comparison alone, with nothing touched
refuse_lockout       refuses a plan that would close a live or needed connection
refuse_broken_promises  refuses a change of the tables that breaks a promise
refuse_downgrade     refuses to write over what a newer version has proven here
kept_tables          the last tables that were proven here
execute_plan         the steps of a plan, in force first, proven, and permanent at last
take_out_of_zone     ports and rules removed from a zone of the operator
reload_for_rules     whether many rules come with a reload, by what each way takes on this host
make_permanent       the files of a plan, written and read back
still_reachable      the proof: new connections to the Salt masters, before and after
confirm_waiting      keeps a change that waits for confirmation
checkpoint           undoes everything if the change fails, or if its process dies
make_record          all that undoes a change, as it is before the first step
watchdog             undoes a change whose process died: a systemd timer, or a process
journal              the state folder: the change under way, and the history
interrupted          what earlier runs left unfinished
commit_options       how a change proves itself, and under which name it is recorded
messages             everything that a transaction says
defaults             deadlines and limits, each with its reason
"""
