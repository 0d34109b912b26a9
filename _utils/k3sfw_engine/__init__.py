"""The engine of k3sfw: port tables in, firewalld objects and verdicts out.

It knows no Salt: the execution module and the states translate between Salt and this package.
The parts, in the order of the data: ``tables`` (what is wanted, as typed rows), ``desired`` (the
firewalld objects of one node), ``firewalld`` (what is there), ``plan`` (the difference),
``transaction`` (the change). ``inspection`` proves it by packets: ``peers`` knows what to ask and
what an answer means, ``probe`` and ``witness`` do the asking. ``routes`` judges what ``network``
and ``host_facts`` have read.
"""

__version__ = "0.2.0"
