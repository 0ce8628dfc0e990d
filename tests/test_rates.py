"""Token buckets: what may come at once, how they fill, and how many there are."""

import pytest
from twisted.internet.task import Clock

from txbayeux.rates import Rate, Shortage, TokenBuckets


class Buckets(TokenBuckets):
    """Buckets of 2 a second, at most 10, and of 50 bytes, at most 100, on a clock."""

    def __init__(self, **options: int) -> None:
        self.clock = Clock()
        super().__init__(Rate(2, 10), Rate(50, 100), self.clock.seconds, **options)

    def taken(self, key: str = "a") -> int:
        """Take what there is, one by one; return how many tokens there were."""
        return next(number for number in range(100) if self.take(key))

    def wait(self, number: int = 1, size: int = 0) -> float:
        """Take tokens; return the seconds until there are enough, 0 if there were."""
        short = self.take("a", number, size)
        return 0.0 if short is None else short.seconds


def test_the_burst_may_come_at_once_and_no_more() -> None:
    assert Buckets().taken() == 10


def test_a_bucket_fills_at_its_rate_up_to_the_burst() -> None:
    buckets = Buckets()
    buckets.taken()
    for seconds, tokens in ((0.5, 1), (1, 2), (4.5, 9), (5, 10), (1000, 10)):
        buckets.clock.advance(seconds)
        assert buckets.taken() == tokens


def test_each_key_has_a_bucket_of_its_own() -> None:
    buckets = Buckets()
    assert [buckets.taken("a"), buckets.taken("b")] == [10, 10]


def test_refusing_takes_nothing_and_says_how_long_to_wait() -> None:
    buckets = Buckets()
    assert buckets.wait(7) == 0
    assert buckets.wait(5) == 1  # second: two tokens are missing
    assert buckets.wait(3) == 0


def test_bytes_are_taken_from_a_bucket_of_their_own() -> None:
    buckets = Buckets()
    assert buckets.take("a", 1, 60) is None
    assert buckets.take("a", 1, 60) == Shortage(of_size=True, seconds=0.4)
    assert buckets.take("a", 1, 40) is None
    assert buckets.take("a", 9) == Shortage(of_size=False, seconds=0.5)
    buckets.clock.advance(1)
    assert buckets.take("a", 10, 50) is None


def test_what_has_no_rate_is_not_limited() -> None:
    for rates in ((None, Rate(1, 5)), (Rate(1, 5), None), (None, None)):
        buckets = TokenBuckets(*rates, Clock().seconds)
        for _ in range(5):
            number, size = (10**9 if rate is None else 1 for rate in rates)
            assert buckets.take("a", number, size) is None
        assert (buckets.take("a", 1, 1) is None) == (rates == (None, None))


def test_what_is_larger_than_a_bucket_waits_for_a_full_one() -> None:
    buckets = Buckets()
    assert buckets.wait(12) == 0
    assert buckets.wait() == 1.5
    buckets.clock.advance(6)
    assert buckets.taken() == 10


def test_what_is_charged_delays_what_comes_next() -> None:
    buckets = Buckets()
    buckets.take("a")
    buckets.charge("a", 12)
    assert buckets.wait() == 2
    buckets.clock.advance(2)
    assert buckets.taken() == 1


def test_a_clock_that_is_set_back_takes_no_tokens() -> None:
    buckets = Buckets()
    buckets.clock.advance(3600)
    buckets.take("a", 5)
    buckets.clock.rightNow -= 3600
    assert buckets.taken() == 5
    buckets.clock.advance(1)
    assert buckets.taken() == 2


def test_buckets_that_are_full_again_are_forgotten() -> None:
    buckets = Buckets()
    for number in range(100):
        buckets.take(str(number))
    assert len(buckets) == 100
    buckets.clock.advance(5)
    buckets.take("a")
    buckets.clock.advance(5)
    buckets.take("b")
    assert len(buckets) == 2


def test_a_bucket_that_is_not_full_is_kept_while_others_come_and_go() -> None:
    buckets = Buckets()
    buckets.taken("a")
    for number in range(4):
        buckets.clock.advance(1)
        buckets.take(f"b{number}")
    assert buckets.taken("a") == 8
    for number in range(4):
        buckets.clock.advance(1)
        buckets.take(f"c{number}")
    assert buckets.taken("a") == 8


def test_there_are_never_more_buckets_than_allowed() -> None:
    buckets = Buckets(max_keys=10)
    for number in range(1000):
        buckets.take(str(number))
        assert len(buckets) <= 10
    assert buckets.taken("999") == 9


@pytest.mark.parametrize(
    ("text", "rate"),
    [("20:1000", Rate(20, 1000)), ("0.5:3", Rate(0.5, 3)), ("0", None)],
)
def test_a_rate_is_written_as_text(text: str, rate: Rate | None) -> None:
    assert Rate.parse(text) == rate
    assert str(rate or 0) == text


@pytest.mark.parametrize("text", ["", "5", "5:", ":5", "-1:5", "1:0", "nan:5", "inf:5"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="PER_SECOND:BURST"):
        Rate.parse(text)


@pytest.mark.parametrize("rate", [(0, 5), (-1, 5), (1, 0), (1, 1.5)])
def test_an_invalid_rate_is_refused(rate: tuple[float, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Rate(*rate)
