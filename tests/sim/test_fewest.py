"""The heap of members finds whom a look at all of them finds, ties included."""

from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.sim.kernel import STEP, Kernel
from hermesdsl.sim.routing.context import least
from hermesdsl.sim.routing.fewest import Fewest
from hermesdsl.sim.routing.load import ClientLoad


@given(
    st.permutations(range(9)),
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 5), st.booleans()), max_size=120),
)
def test_it_is_the_first_of_the_least(members, changes):
    numbers = [0] * 9
    fewest = Fewest(members, numbers)
    for client, by, asks in changes:
        before = numbers[client]
        numbers[client] = by
        if by < before:
            fewest.shrunk(client)
        if asks:
            assert fewest.pick() == least(members, numbers.__getitem__)


def test_clients_that_are_no_members_do_not_matter():
    numbers = [3, 3, 0]
    fewest = Fewest((1, 0), numbers)
    fewest.shrunk(2)
    assert fewest.pick() == 1


def test_loads_tell_who_watches_what_has_shrunk():
    load, told = ClientLoad(2), []
    load.watch(told.append)
    load.requests[1] += 1
    load.remove(1, (0, 0, 0), 1.0)
    assert (told, load.requests) == ([1], [0, 0])


def test_arrivals_come_before_all_else_at_their_time():
    kernel, seen = Kernel(), []
    kernel.at(1.0, STEP, 0, lambda now, _: seen.append(("step", now)))
    kernel.arrivals([0.5, 1.0, 1.0, 3.0], lambda now, i: seen.append((i, now)))
    assert kernel.pending == 5
    kernel.run(2.0)
    assert seen == [(0, 0.5), (1, 1.0), (2, 1.0), ("step", 1.0)]
    assert (kernel.now, kernel.pending) == (1.0, 1)
    kernel.run()
    assert seen[-1] == (3, 3.0)
