"""What is due when: every minute of a session, and each duty once, whatever was missed, broken or slow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from trading import FakeTime, settings_in

from alpaca_wire import Unreachable
from desk.books import Books, BooksDisagree
from market.clock import ReplayClock
from market.hours import at_new_york, local_time, new_york, session_on, sessions_between
from market_scheduler import MarketScheduler, status
from nightly import Skipped


@dataclass
class FakeTrader:
    """Remembers when it was called; its books are real ones."""

    books: Books = field(default_factory=lambda: Books(local_time))
    minutes: list[datetime] = field(default_factory=list)
    rebalances: list[datetime] = field(default_factory=list)
    breaks_at: Callable[[datetime], bool] = lambda now: False
    error: Exception = field(default_factory=lambda: RuntimeError("the minute broke"))
    halts: list[tuple[str, datetime]] = field(default_factory=list)

    def minute(self, now: datetime) -> None:
        if self.breaks_at(now):
            raise self.error
        self.minutes.append(now)
        self.books.last_minute = int(now.timestamp() // 60)

    def halt_for(self, why: str, now: datetime) -> None:
        self.halts.append((why, now))

    def rebalance(self, now: datetime) -> None:
        self.rebalances.append(now)

    def record_duty(self, duty: str, session: str, outcome: str, words: str) -> None:
        self.books.duties[duty, session] = outcome


@dataclass
class FakeTraining:
    """Ends at the given ask."""

    asks: int = 1
    result: tuple[str, str] = ("done", "fine")

    def outcome(self) -> tuple[str, str] | None:
        self.asks -= 1
        return self.result if self.asks <= 0 else None


@dataclass
class Bench:
    """A scheduler over fakes, and what it did."""

    scheduler: MarketScheduler
    trader: FakeTrader
    trained: list[datetime]
    said: list[str]
    reviewed: list[datetime]
    order: list[str]


def bench(
    folder: Path,
    trader: FakeTrader | None = None,
    training: Callable[[], object] = FakeTraining,
    reviewing: Callable[[], str] = lambda: "nothing to learn",
    **settings: object,
) -> Bench:
    trader, order = trader or FakeTrader(), list[str]()
    trained, reviewed, said = list[datetime](), list[datetime](), list[str]()

    def train(now: datetime) -> object:
        trained.append(now)
        order.append("train")
        return training()

    def review(now: datetime, books: Books) -> str:
        assert books is trader.books
        reviewed.append(now)
        order.append("review")
        return reviewing()

    scheduler = MarketScheduler(settings_in(folder, **settings), trader, train, said.append, review)
    return Bench(scheduler, trader, trained, said, reviewed, order)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text)


def every_minute(start: datetime, end: datetime) -> list[datetime]:
    return [start + timedelta(minutes=i) for i in range(int((end - start) / timedelta(minutes=1)) + 1)]


WEEK = sessions_between(date(2026, 11, 23), date(2026, 11, 30))  # Thanksgiving: closed on the 26th, early on the 27th


def test_a_week_has_each_duty_once_a_session_and_every_minute(tmp_path: Path) -> None:
    b = bench(tmp_path)
    b.scheduler.run(every_minute(WEEK[0].open - timedelta(hours=9), WEEK[-1].close + timedelta(hours=6)))
    assert [now for now in b.trained if now > WEEK[0].open] == [at_new_york(s.day, "20:00") for s in WEEK]
    assert b.trader.rebalances == [at_new_york(s.day, "04:00") for s in WEEK]
    assert len(b.trader.minutes) == sum(s.minutes + 1 for s in WEEK)
    assert b.trader.minutes[0] == WEEK[0].open
    closing = [now for now in b.trader.minutes if new_york(now).date() == date(2026, 11, 27)]
    assert f"{new_york(closing[-1]):%H:%M}" == "13:00"


def test_a_replay_clock_brings_the_same_duties_as_every_minute_of_the_week(tmp_path: Path) -> None:
    slow, quick = bench(tmp_path), bench(tmp_path)
    slow.scheduler.run(every_minute(WEEK[0].open - timedelta(hours=7), WEEK[-1].close + timedelta(hours=6)))
    quick.scheduler.run(ReplayClock(WEEK))
    assert quick.trader.minutes == slow.trader.minutes
    assert quick.trader.rebalances == slow.trader.rebalances
    assert quick.trained[-len(WEEK) :] == slow.trained[-len(WEEK) :]


def test_a_holiday_is_one_line(tmp_path: Path) -> None:
    b = bench(tmp_path)
    day = at_new_york(date(2026, 11, 26), "00:00")
    b.scheduler.run(every_minute(day, day + timedelta(hours=23)))
    assert b.trader.minutes == []
    assert sum("no session, nothing new to learn" in line for line in b.said) == 1


@pytest.mark.parametrize("day", [date(2026, 3, 6), date(2026, 3, 9), date(2026, 10, 30), date(2026, 11, 2)])
def test_duties_keep_their_new_york_time_over_a_change_of_the_clocks(tmp_path: Path, day: date) -> None:
    b = bench(tmp_path)
    b.scheduler.run(ReplayClock([session_on(day)]))
    assert f"{new_york(b.trained[-1]):%H:%M}" == "20:00"
    assert f"{new_york(b.trader.rebalances[0]):%H:%M}" == "04:00"


def test_a_training_missed_at_eight_is_made_up_once(tmp_path: Path) -> None:
    b = bench(tmp_path)
    for time in ("21:40", "21:41", "23:00"):
        b.scheduler.tick(at_new_york(date(2026, 11, 24), time))
    assert b.trained == [at_new_york(date(2026, 11, 24), "21:40")]


def test_a_training_missed_until_an_hour_before_the_open_is_said_to_be_missed(tmp_path: Path) -> None:
    b = bench(tmp_path)
    b.trader.books.last_minute = 1
    b.scheduler.tick(at_new_york(date(2026, 11, 25), "08:30"))
    assert b.trained == []
    assert b.trader.books.duties["train", "2026-11-24"] == "missed"
    assert any("missed" in line for line in b.said)


def test_books_that_began_in_the_session_have_missed_no_training_before_it(tmp_path: Path) -> None:
    b = bench(tmp_path)
    for hhmm in ("09:30", "09:31", "09:32"):
        b.scheduler.tick(at_new_york(date(2026, 11, 25), hhmm))
    assert b.trader.books.last_minute
    assert ("train", "2026-11-24") not in b.trader.books.duties


def test_a_rebalance_missed_at_four_is_made_up_before_the_open_only(tmp_path: Path) -> None:
    late, too_late = bench(tmp_path), bench(tmp_path)
    late.scheduler.tick(at_new_york(date(2026, 11, 25), "09:29"))
    too_late.scheduler.tick(at_new_york(date(2026, 11, 25), "09:30"))
    assert len(late.trader.rebalances) == 1
    assert too_late.trader.rebalances == []


def test_books_that_know_a_duty_is_done_keep_it_from_being_done_again(tmp_path: Path) -> None:
    b = bench(tmp_path)
    b.trader.books.duties["train", "2026-11-24"] = "done"
    b.trader.books.duties["rebalance", "2026-11-25"] = "done"
    b.scheduler.tick(at_new_york(date(2026, 11, 24), "20:05"))
    b.scheduler.tick(at_new_york(date(2026, 11, 25), "04:05"))
    assert (b.trained, b.trader.rebalances) == ([], [])


def test_a_long_training_does_not_keep_the_clock_waiting(tmp_path: Path) -> None:
    b = bench(tmp_path, training=lambda: FakeTraining(asks=5))
    start = at_new_york(date(2026, 11, 24), "20:00")
    b.scheduler.run(every_minute(start, start + timedelta(minutes=3)))
    assert ("train", "2026-11-24") not in b.trader.books.duties
    b.scheduler.tick(start + timedelta(minutes=4))
    assert b.trader.books.duties["train", "2026-11-24"] == "done"
    assert len(b.trained) == 1


def test_a_minute_that_breaks_is_counted_and_starves_no_other_duty(tmp_path: Path) -> None:
    trader = FakeTrader(breaks_at=lambda now: now.minute == 40)
    b = bench(tmp_path, trader)
    b.scheduler.run(ReplayClock(WEEK[:1]))
    assert b.scheduler.failures == {"trading minute": 7}  # 9:40, 10:40 ... 15:40
    assert len(trader.minutes) == 391 - 7
    assert b.trained[-1] == at_new_york(WEEK[0].day, "20:00")
    assert any("RuntimeError: the minute broke" in line for line in b.said)


def test_a_training_that_cannot_start_keeps_nothing_else_from_running(tmp_path: Path) -> None:
    def broken() -> object:
        raise OSError("disk full")

    b = bench(tmp_path, training=broken)
    b.scheduler.run(ReplayClock(WEEK[:2]))
    assert len(b.trader.minutes) == 2 * 391
    assert b.scheduler.failures == {"training": 3}  # once for each session that had closed, not once a minute


def test_a_skipped_training_is_not_talked_about(tmp_path: Path) -> None:
    b = bench(tmp_path, training=lambda: Skipped("not tonight"))
    b.scheduler.tick(at_new_york(date(2026, 11, 24), "20:00"))
    assert b.said == []
    assert b.trader.books.duties["train", "2026-11-24"] == "skipped"


def test_a_wall_clock_of_fake_time_brings_every_minute_of_a_session(tmp_path: Path) -> None:
    b = bench(tmp_path)
    session = WEEK[0]
    time = FakeTime(session.open - timedelta(minutes=90), session.close + timedelta(hours=5))
    b.scheduler.run(time.clock())
    assert b.trader.minutes == every_minute(session.open, session.close)


def test_the_status_of_an_early_close(tmp_path: Path) -> None:
    lines = status(settings_in(tmp_path), utc("2026-11-27T15:00:00+00:00"))
    assert lines["market"] == "open"
    assert lines["next close"] == "Fri 2026-11-27 13:00 EST"
    assert lines["next open"] == "Mon 2026-11-30 09:30 EST"


def test_the_next_duties_are_at_their_new_york_times(tmp_path: Path) -> None:
    lines = status(settings_in(tmp_path, TRAIN_TIME="19:15"), utc("2026-11-27T15:00:00+00:00"))
    assert lines["next training"] == "Fri 2026-11-27 19:15 EST"
    assert lines["next rebalance"] == "Mon 2026-11-30 04:00 EST"


def test_the_next_duties_skip_days_without_a_session(tmp_path: Path) -> None:
    eve_of_thanksgiving = utc("2026-11-26T01:00:00+00:00")  # 20:00 in New York: this one has just begun
    lines = status(settings_in(tmp_path), eve_of_thanksgiving)
    assert lines["next training"] == "Fri 2026-11-27 20:00 EST"
    assert lines["next rebalance"] == "Fri 2026-11-27 04:00 EST"


def test_a_training_of_the_early_hours_comes_after_the_session_it_learns_from(tmp_path: Path) -> None:
    lines = status(settings_in(tmp_path, TRAIN_TIME="01:30"), utc("2026-11-27T22:00:00+00:00"))
    assert lines["next training"] == "Sat 2026-11-28 01:30 EST"


def test_books_that_are_wrong_end_the_loop(tmp_path: Path) -> None:
    @dataclass
    class WrongBooks(FakeTrader):
        def rebalance(self, now: datetime) -> None:
            raise BooksDisagree("the books hold 5 AAA, the broker none")

    b = bench(tmp_path, WrongBooks())
    with pytest.raises(BooksDisagree):
        b.scheduler.run(ReplayClock(WEEK[:1]))
    assert b.trader.minutes == []


def test_an_outcome_that_cannot_be_read_is_asked_for_once(tmp_path: Path) -> None:
    class Odd:
        def outcome(self) -> tuple[str, str]:
            raise TypeError("no figure")

    b = bench(tmp_path, training=Odd)
    start = at_new_york(date(2026, 11, 24), "20:00")
    b.scheduler.run(every_minute(start, start + timedelta(hours=1)))
    assert b.scheduler.failures == {"training": 1}


# --- the review ------------------------------------------------------------------------------------------------------


def test_each_traded_session_is_reviewed_once_at_eight_before_its_training(tmp_path: Path) -> None:
    b = bench(tmp_path)
    b.scheduler.run(every_minute(WEEK[0].open, WEEK[-1].close + timedelta(hours=8)))
    assert b.reviewed == [at_new_york(s.day, "20:00") for s in WEEK]
    assert b.order[-2 * len(WEEK) :] == ["review", "train"] * len(WEEK)
    assert [b.trader.books.duties["review", str(s.day)] for s in WEEK] == ["done"] * len(WEEK)
    assert sum(line == f"review of {WEEK[0].day}: nothing to learn" for line in b.said) == 1


@pytest.mark.parametrize(("train_time", "expected"), [("16:00", "16:01"), ("20:00", "20:00"), ("03:00", "03:00")])
def test_the_review_follows_the_training_time_also_where_that_is_after_midnight(
    tmp_path: Path, train_time: str, expected: str
) -> None:
    b = bench(tmp_path, TRAIN_TIME=train_time)
    b.scheduler.run(every_minute(WEEK[0].open, WEEK[1].open - timedelta(minutes=1)))
    (when,) = b.reviewed
    assert f"{new_york(when):%H:%M}" == expected
    assert len(b.trader.minutes) == 391  # the close itself included, before the review
    assert b.trader.minutes[-1] < when


@pytest.mark.parametrize(("time", "times"), [("23:30", 1), ("03:00", 1), ("09:29", 1), ("09:30", 0), ("11:00", 0)])
def test_a_review_that_was_missed_is_made_up_until_the_next_open_and_not_after_it(
    tmp_path: Path, time: str, times: int
) -> None:
    b = bench(tmp_path)
    b.scheduler.run(every_minute(WEEK[0].open, WEEK[0].close))
    late = at_new_york(WEEK[0].day if time > "20:00" else WEEK[1].day, time)
    b.scheduler.run([late, late + timedelta(minutes=1)])
    assert b.reviewed == [late] * times


def test_on_a_holiday_the_session_before_it_is_still_reviewed(tmp_path: Path) -> None:
    b = bench(tmp_path)
    b.scheduler.run(every_minute(WEEK[2].open, WEEK[2].close))  # the day before Thanksgiving
    holiday = at_new_york(date(2026, 11, 26), "12:00")
    b.scheduler.run(every_minute(holiday, holiday + timedelta(hours=9)))
    assert b.reviewed == [holiday]


def test_a_session_that_nobody_traded_is_not_reviewed(tmp_path: Path) -> None:
    fresh, gone = bench(tmp_path), bench(tmp_path)
    fresh.scheduler.run(every_minute(at_new_york(WEEK[0].day, "19:00"), at_new_york(WEEK[0].day, "21:00")))
    gone.scheduler.run(every_minute(WEEK[0].open, WEEK[0].close))
    gone.scheduler.tick(at_new_york(WEEK[1].day, "21:00"))  # the process was away for the whole second session
    assert (fresh.reviewed, gone.reviewed) == ([], [])
    assert len(gone.trained) == 1  # there is something to learn from it all the same


def test_books_that_know_a_review_is_done_keep_it_from_being_done_again(tmp_path: Path) -> None:
    b = bench(tmp_path)
    b.scheduler.run(every_minute(WEEK[0].open, WEEK[0].close))
    b.trader.books.duties["review", str(WEEK[0].day)] = "done"
    b.scheduler.tick(at_new_york(WEEK[0].day, "20:05"))
    assert b.reviewed == []


def test_a_review_that_fails_is_said_once_a_session_and_disturbs_neither_training_nor_trading(tmp_path: Path) -> None:
    def fails() -> str:
        raise KeyError("drift")

    b = bench(tmp_path, reviewing=fails)
    b.scheduler.run(ReplayClock(WEEK[:2]))
    assert b.scheduler.failures == {"review": 2}  # once a session, not once a minute
    assert len(b.trader.minutes) == 2 * 391
    assert b.trained[-2:] == [at_new_york(s.day, "20:00") for s in WEEK[:2]]
    assert sum("review at" in line and "KeyError: 'drift'" in line for line in b.said) == 2
    assert not any("works again" in line for line in b.said)
    assert ("review", str(WEEK[0].day)) not in b.trader.books.duties


def test_a_review_that_alpaca_kept_from_its_bars_is_tried_again(tmp_path: Path) -> None:
    answers = iter([Unreachable("no answer"), Unreachable("no answer"), None])

    def reviewing() -> str:
        if (error := next(answers)) is not None:
            raise error
        return "at last"

    b = bench(tmp_path, reviewing=reviewing)
    b.scheduler.run(every_minute(WEEK[0].open, at_new_york(WEEK[0].day, "20:10")))
    assert len(b.reviewed) == 3
    assert b.trained == [at_new_york(WEEK[0].day, "20:00")]  # without waiting for the review
    assert b.trader.books.duties["review", str(WEEK[0].day)] == "done"
    assert sum("failed" in line for line in b.said) == 1
    assert any("review" in line and "works again" in line for line in b.said)


def test_without_a_review_nothing_is_due_and_nothing_fails(tmp_path: Path) -> None:
    trader = FakeTrader()
    scheduler = MarketScheduler(settings_in(tmp_path), trader, lambda now: FakeTraining())
    scheduler.run(ReplayClock(WEEK[:1]))
    assert not scheduler.failures
    assert ("review", str(WEEK[0].day)) not in trader.books.duties


def test_five_minutes_in_a_row_that_fail_halt_and_five_more_do_again_as_a_person_may_have_resumed(
    tmp_path: Path,
) -> None:
    session = session_on(date(2026, 11, 24))
    assert session is not None
    trader = FakeTrader(breaks_at=lambda now: session.open < now < session.open + timedelta(minutes=13))
    bench(tmp_path, trader).scheduler.run(ReplayClock([session]))
    assert trader.halts == [("5 trading minutes failed", session.open + timedelta(minutes=m)) for m in (5, 10)]


@pytest.mark.parametrize("error", [Unreachable("no answer"), OSError(28, "No space left on device")])
def test_what_heals_by_itself_does_not_halt(tmp_path: Path, error: Exception) -> None:
    session = session_on(date(2026, 11, 24))
    trader = FakeTrader(breaks_at=lambda now: True, error=error)
    bench(tmp_path, trader).scheduler.run(ReplayClock([session]))  # type: ignore[list-item]
    assert trader.halts == []


def test_four_failed_minutes_and_one_that_works_do_not_halt(tmp_path: Path) -> None:
    session = session_on(date(2026, 11, 24))
    trader = FakeTrader(breaks_at=lambda now: now.minute % 5 != 0)
    bench(tmp_path, trader).scheduler.run(ReplayClock([session]))  # type: ignore[list-item]
    assert trader.halts == []


def test_onlookers_that_fail_are_said_once_and_hinder_no_minute(tmp_path: Path) -> None:
    def fails(now: datetime) -> None:
        raise ValueError("no figure")

    b = bench(tmp_path)
    b.scheduler._show = fails
    b.scheduler.run(ReplayClock(WEEK[:1]))
    assert b.trader.minutes == every_minute(WEEK[0].open, WEEK[0].close)
    assert sum("no figure" in line for line in b.said) == 1
