"""Clocks: every minute once, none twice, none late by more than its lateness, whatever the machine's time does."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise

import pytest

from market.clock import LATENESS_SECONDS, MINUTE, ReplayClock, WallClock, utc_now
from market.hours import Session, at_new_york, new_york, session_on

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class FakeTime:
    """A machine whose time passes only while somebody waits: `share` of what was asked, and `oversleep` seconds."""

    def __init__(self, start: datetime, oversleep: float = 0.0, share: float = 1.0) -> None:
        self.time = start
        self.waits: list[float] = []
        self._oversleep, self._share = timedelta(seconds=oversleep), share

    def now(self) -> datetime:
        return self.time

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += timedelta(seconds=seconds * self._share) + self._oversleep

    def clock(self, lateness_seconds: float = LATENESS_SECONDS) -> WallClock:
        return WallClock(self.now, self.wait, lateness_seconds)


def minutes(*offsets: int) -> list[datetime]:
    return [NOON + offset * MINUTE for offset in offsets]


# --- the wall clock -------------------------------------------------------------------------------------------------


def test_the_first_minute_is_the_one_that_is_running() -> None:
    machine = FakeTime(NOON + 40 * SECOND)
    assert next(iter(machine.clock())) == NOON
    assert machine.waits == []


def test_every_minute_comes_once_and_late_by_the_lateness() -> None:
    machine = FakeTime(NOON + 40 * SECOND)
    ticks = [(now, machine.time) for now in islice(machine.clock(), 6)]
    assert [now for now, _ in ticks] == minutes(0, 1, 2, 3, 4, 5)
    assert all(time - now == timedelta(seconds=LATENESS_SECONDS) for now, time in ticks[1:])


def test_a_minute_has_not_begun_before_its_lateness_is_over() -> None:
    machine = FakeTime(NOON + 2 * SECOND)
    ticks = [(now, machine.time) for now in islice(machine.clock(10.0), 2)]
    assert ticks == [(NOON - MINUTE, NOON + 2 * SECOND), (NOON, NOON + 10 * SECOND)]


def test_without_lateness_minutes_come_on_the_minute() -> None:
    machine = FakeTime(NOON)
    assert [(now, machine.time) for now in islice(machine.clock(0.0), 3)] == [(t, t) for t in minutes(0, 1, 2)]


def test_a_slow_minute_costs_only_the_minutes_it_ran_over() -> None:
    machine = FakeTime(NOON + 3 * SECOND)
    seen = []
    for now in islice(machine.clock(), 5):
        seen.append(now)
        machine.time += timedelta(seconds=150 if len(seen) == 2 else 5)
    assert seen == minutes(0, 1, 3, 4, 5)


def test_a_month_of_late_wakings_and_slow_minutes_does_not_drift() -> None:
    machine = FakeTime(NOON, oversleep=0.7)
    for now in islice(machine.clock(), 30 * 24 * 60):
        late = machine.time - now
        machine.time += 5 * SECOND
    assert late == timedelta(seconds=LATENESS_SECONDS + 0.7)
    assert now == NOON - MINUTE + (30 * 24 * 60 - 1) * MINUTE


def test_waking_too_early_waits_the_rest() -> None:
    machine = FakeTime(NOON + 40 * SECOND, share=0.6)
    ticks = [(now, machine.time) for now in islice(machine.clock(), 4)]
    assert [now for now, _ in ticks] == minutes(0, 1, 2, 3)
    assert all(time - now == timedelta(seconds=LATENESS_SECONDS) for now, time in ticks[1:])


@pytest.mark.parametrize("back", [SECOND, 90 * SECOND])
def test_no_minute_comes_twice_when_the_machines_time_is_nudged_back(back: timedelta) -> None:
    machine = FakeTime(NOON + 3 * SECOND)
    seen = []
    for now in islice(machine.clock(), 6):
        seen.append(now)
        if len(seen) == 3:
            machine.time -= back
    assert seen == minutes(0, 1, 2, 3, 4, 5)


@pytest.mark.parametrize("back", [timedelta(hours=1), timedelta(days=2)])
def test_a_clock_that_was_set_back_is_believed_at_once_and_is_no_silent_hour(back: timedelta) -> None:
    machine = FakeTime(NOON + 3 * SECOND)
    seen, waits = [], 0
    for now in islice(machine.clock(), 6):
        seen.append(now)
        if len(seen) == 3:
            machine.time -= back
            waits = len(machine.waits)
    assert seen == [*minutes(0, 1, 2), *(NOON + 2 * MINUTE - back + i * MINUTE for i in range(3))]
    assert sum(machine.waits[waits:]) <= 2 * 60


def test_a_step_forward_skips_what_it_jumped_over() -> None:
    machine = FakeTime(NOON + 3 * SECOND)
    seen = []
    for now in islice(machine.clock(), 4):
        seen.append(now)
        if len(seen) == 2:
            machine.time += timedelta(hours=60)
    assert seen == [*minutes(0, 1), NOON + timedelta(hours=60) + MINUTE, NOON + timedelta(hours=60) + 2 * MINUTE]


def test_it_waits_a_positive_time_of_at_most_a_minute_and_never_spins() -> None:
    machine = FakeTime(NOON + 59.999 * SECOND, oversleep=0.01)
    for seen, _ in enumerate(islice(machine.clock(), 200), start=1):
        if seen % 20 == 0:
            machine.time -= 7 * MINUTE
    assert all(0 < seconds <= 60 for seconds in machine.waits)
    assert len(machine.waits) <= 199 + 10 * 8


def test_the_machines_time_is_aware_and_in_utc() -> None:
    assert utc_now().tzinfo is UTC
    assert WallClock().now is utc_now


# --- the replay clock -----------------------------------------------------------------------------------------------


def session(day: date) -> Session:
    found = session_on(day)
    assert found is not None
    return found


DAYS = [
    (date(2026, 2, 6), "14:30", 391),  # winter
    (date(2026, 3, 9), "13:30", 391),  # the Monday after clocks went forward
    (date(2026, 11, 2), "14:30", 391),  # the Monday after they went back
    (date(2026, 11, 27), "14:30", 211),  # closes at 13:00
]


@pytest.mark.parametrize(("day", "opens_utc", "ticks"), DAYS)
def test_a_replayed_day_is_the_rebalance_then_open_to_close_inclusive_then_training(
    day: date, opens_utc: str, ticks: int
) -> None:
    first, *trading, last = ReplayClock([session(day)])
    assert [new_york(now).strftime("%Y-%m-%d %H:%M") for now in (first, last)] == [f"{day} 04:00", f"{day} 20:00"]
    assert (trading[0], trading[-1]) == (session(day).open, session(day).close)
    assert trading[0].strftime("%H:%M") == opens_utc
    assert len(trading) == ticks
    assert {after - before for before, after in pairwise(trading)} == {MINUTE}
    assert all(now.tzinfo is UTC for now in (first, *trading, last))


def test_sessions_follow_one_another_over_a_weekend_and_a_change_of_clocks() -> None:
    friday, monday = session(date(2026, 3, 6)), session(date(2026, 3, 9))
    both = list(ReplayClock([friday, monday]))
    assert both == [*ReplayClock([friday]), *ReplayClock([monday])] == sorted(both)
    assert [now.hour for now in (both[0], both[393])] == [9, 8]  # 04:00 New York, in UTC


def test_the_duties_times_can_be_chosen_and_one_that_falls_into_the_session_is_one_minute() -> None:
    day = date(2026, 2, 6)
    at = {at_new_york(day, "08:15"), at_new_york(day, "12:00")}
    ticks = list(ReplayClock([session(day)], rebalance_time="08:15", train_time="12:00"))
    assert at < set(ticks)
    assert len(ticks) == 392
    assert ticks == sorted(set(ticks))


def test_a_replay_clock_can_be_read_again_and_one_of_no_sessions_is_empty() -> None:
    clock = ReplayClock([session(date(2026, 2, 6))])
    assert list(clock) == list(clock)
    assert list(ReplayClock([])) == []


def test_the_wall_clock_never_waits_a_negative_time():
    machine = FakeTime(NOON + 3 * SECOND)

    def creeping():
        machine.time += timedelta(microseconds=2)
        return machine.time

    def early(seconds):
        assert seconds > 0  # time.sleep raises ValueError below 0
        machine.wait(seconds)
        if len(machine.waits) == 1:
            machine.time -= timedelta(microseconds=3)

    assert list(islice(WallClock(creeping, early), 3)) == minutes(0, 1, 2)
