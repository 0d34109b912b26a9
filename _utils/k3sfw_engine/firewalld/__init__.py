"""firewalld: its D-Bus interface, its files and its nft table. Nothing else talks to it.

dbus                  calls over the system bus, each with a deadline
runtime               observe the runtime configuration, and carry out the steps that change it
permanent             the files of the permanent configuration, read and replaced
permanent_xml         one object as XML: what such a file holds
file_copies           copies of the files that k3sfw wrote last, to repair damaged ones
kernel_rules          the nft table of firewalld, read as facts about our objects
zones                 the zones and policies of others, in both layers
service_definitions   services with everything that they include
operator_zone         one zone of the operator, read, and single ports and rules removed from it
others_runtime_rules  what others changed at runtime only, restored after a reload
trial_start           a second firewalld in isolation that loads a configuration first
interpreter           the Python that firewalld runs with
defaults              deadlines, each with its measurement
messages              problems of firewalld, each with its fix
"""
