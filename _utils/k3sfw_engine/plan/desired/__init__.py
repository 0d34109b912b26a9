"""The firewalld objects that a node of a role must have, computed from the tables. Pure.

compute           the entry: tables and a role in, all objects out
desired_objects   the result: the objects, and the row behind each rule
policies          the policies, with one rich rule for each row, family and source
ipsets            the ipsets and their entries; entries of nodes stay if the list is in doubt
pods              how pods are accepted: by their interfaces or by their addresses
bound_interfaces  leave interfaces of pods where the operator bound them, accept pods there
kept_paths        keep the paths of pods while nothing proves that they are gone
return_path       the policy that keeps the connection to the Salt master over a first start
"""
