"""Which object is looked at next."""

from scopeway.control_plane.status_writer.work_queue import LONGEST_DELAY, WorkQueue


def taken(queue: WorkQueue, now: float = 0) -> list[str]:
    found = []
    while (place := queue.take(now)) is not None:
        found.append(place)
        queue.done(place)
    return found


def test_what_has_changed_goes_before_all_others() -> None:
    queue = WorkQueue()
    queue.add(["a", "b", "c"], urgent=False)
    queue.add(["c", "z"])
    queue.add(["z"], urgent=False)

    assert len(queue) == 4
    assert taken(queue) == ["c", "z", "a", "b"]


def test_a_place_is_with_one_worker_and_comes_again_if_it_has_changed_meanwhile() -> None:
    queue = WorkQueue()
    queue.add(["a"])
    assert queue.take(0) == "a"
    queue.add(["a"])

    assert queue.take(0) is None
    queue.done("a")
    assert queue.take(0) == "a"
    queue.done("a")
    assert queue.take(0) is None


def test_what_failed_is_tried_again_later_and_later() -> None:
    queue = WorkQueue()
    queue.add(["a"])
    now, waits = 0.0, []
    for _ in range(12):
        assert queue.take(now) == "a"
        queue.failed("a", now)
        wait = queue.wait(now)
        assert wait is not None
        assert queue.take(now + wait - 0.1) is None
        now += wait
        waits.append(wait)

    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == LONGEST_DELAY


def test_a_success_forgets_the_failures() -> None:
    queue = WorkQueue()
    for _ in range(2):
        queue.add(["a"])
        assert queue.take(100) == "a"
        queue.failed("a", 0)
        assert queue.wait(0) == 1
        assert taken(queue, 1) == ["a"]


def test_what_changes_after_a_failure_is_tried_at_once() -> None:
    queue = WorkQueue()
    queue.add(["a"])
    queue.take(0)
    queue.add(["a"])
    queue.failed("a", 0)

    assert queue.take(0) == "a"


def test_a_queue_that_is_cleared_keeps_nothing() -> None:
    queue = WorkQueue()
    queue.add(["a", "b"])
    assert queue.take(0) == "a"
    queue.add(["a"])
    queue.clear()
    queue.done("a")

    assert taken(queue, 1000) == []
    assert queue.wait(0) is None


def test_what_is_postponed_comes_once_however_often_it_is_postponed() -> None:
    queue = WorkQueue()
    for until in (50, 40, 60):
        queue.add(["a"])
        assert queue.take(0) == "a"
        queue.postpone("a", until)

    assert queue.wait(0) == 40
    assert taken(queue, 39) == []
    assert taken(queue, 40) == ["a"]
    assert taken(queue, 1000) == []
