"""firewalld: its D-Bus interface, its files and its nft table. Nothing else talks to it.

dbus                  calls over the system bus, each with a deadline
runtime               observe all layers, and carry out the steps that change runtime
permanent             the files of the permanent configuration, read and replaced
permanent_xml         one object as XML: what such a file holds
file_copies           copies of the files that k3sfw wrote last, for the repair of damaged ones
kernel_rules          firewalld's nft table: read as facts about our objects; created if lost
zones                 zones, policies of others and ipsets, read in both layers
service_definitions   services with everything that they include
operator_zone         read one zone of the operator, and remove single ports and rules from it
others_runtime_rules  what others changed at runtime only: read before a reload, restored after
trial_start           a second firewalld in isolation that loads a configuration first
offline_check         firewalld's own check, where no second firewalld can be started
stopped               whether no firewalld runs, and none left its rules
interpreter           the Python that firewalld runs with
defaults              deadlines and a limit, each with its measurement
messages              problems of firewalld, each with its fix
"""
