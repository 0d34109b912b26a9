"""What ``make test`` runs is there."""

from lab.daemons import CHECKOUT
from tests.selection import SLOW_UNITS, WITH_HOSTS


def test_every_file_that_is_chosen_for_make_test_or_left_out_of_it_is_there():
    assert [name for name in (*WITH_HOSTS, *SLOW_UNITS) if not (CHECKOUT / name).is_file()] == []
