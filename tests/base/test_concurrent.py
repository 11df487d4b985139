"""Many things at the same time, and no more threads than there may be."""

import resource
import threading

import pytest
from support.children import DONE, run_in_child

from certbotless.base.concurrent import Threads, have_descriptors, together


def test_those_who_share_threads_never_have_more_than_there_are() -> None:
    """8 callers ask for 20 each, and 40 are there: two have theirs at a time, and the others wait."""
    threads, before, peak = Threads(40), threading.active_count(), 0
    # Nobody is done before all the threads of its caller are there.
    meetings = [threading.Barrier(21, timeout=30) for _ in range(8)]

    def of_one(number: int) -> list[int]:
        def ask(item: int) -> int:
            nonlocal peak
            meetings[number].wait()
            peak = max(peak, threading.active_count())
            return item

        return threads.together(ask, range(21), 21)

    assert together(of_one, range(8)) == [list(range(21))] * 8
    assert peak <= before + 7 + 40


def test_threads_are_free_again_after_a_failure() -> None:
    threads = Threads(2)

    def fail(_: int) -> None:
        raise ValueError

    for _ in range(3):
        with pytest.raises(ValueError):
            threads.together(fail, range(3), 3)
    assert threads.together(abs, range(9), 9) == list(range(9))
    assert Threads(0).together(abs, range(3), 3) == [0, 1, 2]


@pytest.mark.process
@pytest.mark.parametrize(
    ("given", "has"), [((256, 20_000), 4096), ((256, 300), 300), ((9000, 20_000), 9000), ((64, 64), 64)]
)
def test_a_process_has_as_many_descriptors_as_many_sites_need(given: tuple[int, int], has: int) -> None:
    """No more than the machine allows, and no fewer than it had."""

    def raise_limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, given)
        have_descriptors()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (has, given[1])

    assert run_in_child(raise_limit) == DONE
