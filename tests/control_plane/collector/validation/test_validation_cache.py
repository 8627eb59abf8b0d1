"""The cache of validations: what it answers, for how long, and what a revocation does."""

from scopeway.control_plane.collector.validation.validation_cache import (
    MAX_ANSWER,
    MAX_BYTES,
    MAX_SECONDS,
    MAX_VARIANTS,
    Answer,
    ValidationCache,
)

ANSWER = Answer(((b"content-type", b"application/json"),), b'{"token": {}}')


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def cache_with(seconds: float = 5.0) -> tuple[ValidationCache, Clock]:
    clock = Clock()
    return ValidationCache(seconds, clock), clock


def test_an_answer_is_kept_for_the_token_and_question_that_it_answers() -> None:
    cache, clock = cache_with()
    cache.put(cache.key(b"one", b"/v3/auth/tokens"), ANSWER, clock())
    assert cache.get(cache.key(b"one", b"/v3/auth/tokens")) == ANSWER
    assert cache.get(cache.key(b"two", b"/v3/auth/tokens")) is None
    assert cache.get(cache.key(b"one", b"/v3/auth/tokens?nocatalog")) is None


def test_an_answer_lives_from_the_time_of_the_question() -> None:
    cache, clock = cache_with(3.0)
    key = cache.key(b"one", b"/")
    asked_at = clock()
    clock.now += 2.0  # the Keystone was slow
    cache.put(key, ANSWER, asked_at)
    assert cache.get(key) == ANSWER
    clock.now += 1.0
    assert cache.get(key) is None


def test_no_setting_makes_an_answer_live_longer_than_the_bound() -> None:
    cache, clock = cache_with(3600.0)
    key = cache.key(b"one", b"/")
    cache.put(key, ANSWER, clock())
    clock.now += MAX_SECONDS
    assert cache.get(key) is None


def test_a_revocation_forgets_all_answers_of_its_token_and_no_other() -> None:
    cache, clock = cache_with()
    for question in (b"/", b"/?nocatalog"):
        cache.put(cache.key(b"one", question), ANSWER, clock())
    cache.put(cache.key(b"two", b"/"), ANSWER, clock())
    cache.begin_revocation(b"one")
    assert cache.get(cache.key(b"one", b"/")) is None
    assert cache.get(cache.key(b"one", b"/?nocatalog")) is None
    assert cache.get(cache.key(b"two", b"/")) == ANSWER


def test_an_answer_that_a_revocation_may_have_overtaken_is_not_kept() -> None:
    cache, clock = cache_with()
    key = cache.key(b"one", b"/")
    asked_before = clock()
    clock.now += 0.1
    cache.begin_revocation(b"one")
    cache.put(key, ANSWER, asked_before)
    asked_meanwhile = clock()
    assert cache.get(key) is None
    clock.now += 0.1
    cache.end_revocation()
    for asked_at in (asked_before, asked_meanwhile, clock()):
        cache.put(key, ANSWER, asked_at)
        assert cache.get(key) is None
    clock.now += 0.1
    cache.put(key, ANSWER, clock())
    assert cache.get(key) == ANSWER


def test_two_revocations_at_once_both_have_to_end() -> None:
    cache, clock = cache_with()
    key = cache.key(b"one", b"/")
    cache.begin_revocation(b"one")
    cache.begin_revocation(b"two")
    cache.end_revocation()
    clock.now += 1.0
    cache.put(key, ANSWER, clock())
    assert cache.get(key) is None
    cache.end_revocation()
    clock.now += 1.0
    cache.put(key, ANSWER, clock())
    assert cache.get(key) == ANSWER


def test_a_large_answer_is_not_kept() -> None:
    cache, clock = cache_with()
    key = cache.key(b"one", b"/")
    cache.put(key, Answer((), b"x" * (MAX_ANSWER + 1)), clock())
    assert cache.get(key) is None
    cache.put(key, Answer((), b"x" * MAX_ANSWER), clock())
    assert cache.get(key) is not None


def test_many_questions_about_one_token_push_out_the_oldest() -> None:
    cache, clock = cache_with()
    keys = [cache.key(b"one", b"/?%d" % number) for number in range(MAX_VARIANTS + 1)]
    for key in keys:
        cache.put(key, ANSWER, clock())
    assert cache.get(keys[0]) is None
    assert all(cache.get(key) == ANSWER for key in keys[1:])


def test_many_tokens_push_out_the_oldest() -> None:
    cache, clock = cache_with()
    large = Answer((), b"x" * MAX_ANSWER)
    keys = [cache.key(b"%d" % number, b"/") for number in range(MAX_BYTES // MAX_ANSWER + 10)]
    for key in keys:
        cache.put(key, large, clock())
    assert len(cache) <= MAX_BYTES // MAX_ANSWER
    assert cache.get(keys[0]) is None
    assert cache.get(keys[-1]) == large
