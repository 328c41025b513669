"""The collector comes back to everything when a run is over, however it ends."""

import gc

import pytest

from hermesdsl.sim.settled import settled


def test_what_was_there_is_left_alone_inside_only():
    before = gc.get_freeze_count()
    with settled():
        assert gc.get_freeze_count() > before
    assert gc.get_freeze_count() == 0


def test_an_error_passes_and_leaves_nothing_behind():
    with pytest.raises(ValueError, match="stop"), settled():
        raise ValueError("stop")
    assert gc.get_freeze_count() == 0


def test_garbage_of_the_run_itself_is_collected():
    class Ring:
        alive = 0

        def __init__(self):
            self.own = self
            Ring.alive += 1

        def __del__(self):
            Ring.alive -= 1

    with settled():
        Ring()
        gc.collect()
        assert Ring.alive == 0
