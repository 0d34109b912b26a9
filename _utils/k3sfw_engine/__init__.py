"""The engine of k3sfw: port tables in, firewalld objects and verdicts out.

It knows no Salt: the execution module and the states translate between Salt and this package.
The parts, in the order of the data: ``tables`` and ``membership`` (what is wanted, as typed rows),
``desired`` (the firewalld objects of one node), ``firewalld`` (what is there), ``plan`` (the
difference), ``transaction`` (the change).
"""

__version__ = "0.1.0"
