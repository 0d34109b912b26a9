"""What k3sfw works with, proven cell by cell: ``make matrix`` writes docs/compatibility.md.

- ``cell``: what is proven together: a Salt, a Python, a firewalld, a host, a way of shipping.
- ``catalogue``: every cell, gathered from the modules ``cells_of_…``.
- ``run``: run the tests of a cell, and count what passed.
- ``record``: the outcomes that were ever measured, ``outcomes.json``.
- ``table``: the page that shows them; a cell that was not run is never green.
- ``cells_of_salt``: Salt, Python and ways of shipping, on the environments that ``salts`` and
  ``pythons`` make; ``test_walk`` goes by them, on a ``walked_site`` that one of ``ways`` raises.
"""
