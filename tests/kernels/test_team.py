"""Threads of teams: every rank once, kept for the next team, apart for teams side by side, failures told."""

import multiprocessing
import threading

import pytest

from asediff.kernels.cpu import team


def ranks_of_a_team(n_threads):
    """Rank -> thread of each member; all are there at the same time."""
    together, found = threading.Barrier(n_threads, timeout=20), {}

    def member(rank):
        together.wait()
        found[rank] = threading.get_ident()

    team.run_team(n_threads, member)
    return found


def test_every_rank_has_a_thread_and_the_first_is_the_callers():
    found = ranks_of_a_team(4)
    assert sorted(found) == [0, 1, 2, 3]
    assert len(set(found.values())) == 4
    assert found[0] == threading.get_ident()


def test_threads_are_kept():
    ranks_of_a_team(3)
    before = threading.active_count()
    for _ in range(20):
        ranks_of_a_team(3)
    assert threading.active_count() == before


def test_teams_side_by_side_and_inside_each_other_share_no_thread():
    inner = {}
    together = threading.Barrier(6, timeout=20)

    def member(rank):
        def deeper(k):
            together.wait()  # passes only when all six are at work at once
            inner[rank, k] = threading.get_ident()

        team.run_team(2, deeper)

    team.run_team(3, member)
    assert len(set(inner.values())) == 6


@pytest.mark.parametrize("failing", [0, 1])
def test_a_failure_is_raised_when_all_have_ended(failing):
    ended = []

    def member(rank):
        if rank == failing:
            raise ArithmeticError("rank failed")
        ended.append(rank)

    with pytest.raises(ArithmeticError, match="rank failed"):
        team.run_team(3, member)
    assert sorted(ended) == [rank for rank in range(3) if rank != failing]
    assert sorted(ranks_of_a_team(3)) == [0, 1, 2]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    ranks_of_a_team(3)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=ranks_of_a_team, args=(3,))
    child.start()
    child.join(30)
    assert child.exitcode == 0
