"""The store of bars: fetched once, merged by symbol, and never taken for more than it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from market.bar_store import BarStore
from market.bars import COLUMNS, BadBars, NoBars, check_bars
from market.hours import Session, moment, sessions_between

MINUTE = timedelta(minutes=1)
FRIDAY, MONDAY, TUESDAY = sessions_between(date(2026, 2, 27), date(2026, 3, 3))
WEEK = [FRIDAY, MONDAY, TUESDAY]
LATER = TUESDAY.close + timedelta(hours=4)


class FakeMarket:
    """A feed of one bar every ten minutes, and a list of what it was asked for. `silent` symbols have no bars."""

    def __init__(self, price: float = 100.0, silent: Sequence[str] = ()) -> None:
        self.asked: list[tuple[date, list[str]]] = []
        self._price, self._silent = price, silent

    def bars(self, symbols: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
        self.asked.append((start.date(), list(symbols)))
        stamps = [moment(minute) for minute in range(int(start.timestamp()) // 60, int(end.timestamp()) // 60, 10)]
        rows = [
            (symbol, stamp, self._price, self._price, self._price, self._price, 10.0)
            for symbol in symbols
            if symbol not in self._silent
            for stamp in stamps
            if stamp + MINUTE <= end
        ]
        return check_bars(pd.DataFrame(rows, columns=COLUMNS).astype({"timestamp": "datetime64[us, UTC]"}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "bars"


@pytest.fixture
def store(folder: Path) -> BarStore:
    return BarStore(folder)


def update(
    store: BarStore,
    market: FakeMarket,
    symbols: Sequence[str] = ("AMD", "NVDA"),
    sessions: Sequence[Session] = WEEK,
    now: datetime = LATER,
    feed: str = "iex",
) -> list[tuple[int, bool]]:
    """Bring up to date; rows fetched and whether it was stored, by session."""
    return [(day.rows, day.stored) for day in store.update(market.bars, feed, symbols, sessions, now)]


def read(store: BarStore, symbols: Sequence[str] | None = None) -> pd.DataFrame:
    return store.read(FRIDAY.day, TUESDAY.day, symbols)


def note(folder: Path, session: Session) -> dict[str, object]:
    return json.loads((folder / f"{session.day}.json").read_text())


# --- fetching -------------------------------------------------------------------------------------------------------


def test_every_session_has_its_file_and_a_note_of_what_it_holds(store: BarStore, folder: Path) -> None:
    assert update(store, FakeMarket(), symbols=["NVDA", "AMD"]) == [(78, False)] * 3
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        f"{session.day}{suffix}" for session in WEEK for suffix in (".json", ".parquet")
    )
    assert store.days() == [session.day for session in WEEK]
    assert note(folder, MONDAY) == {"symbols": ["AMD", "NVDA"], "feed": "iex", "adjustment": "split", "complete": True}


def test_what_is_stored_is_what_was_fetched_as_a_bars_table(store: BarStore) -> None:
    market = FakeMarket()
    update(store, market, symbols=["NVDA", "AMD"])
    whole = pd.concat([market.bars(["AMD", "NVDA"], session.open, session.close) for session in WEEK])
    stored = read(store)
    pd.testing.assert_frame_equal(stored, check_bars(whole))
    pd.testing.assert_frame_equal(stored, check_bars(stored))


def test_a_second_update_fetches_nothing_and_leaves_the_files(store: BarStore, folder: Path) -> None:
    update(store, FakeMarket())
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    market = FakeMarket()
    assert update(store, market) == [(0, True)] * 3
    assert update(store, market, symbols=["NVDA"]) == [(0, True)] * 3
    assert market.asked == []
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_only_missing_sessions_are_fetched(store: BarStore) -> None:
    update(store, FakeMarket(), sessions=[FRIDAY, TUESDAY])
    market = FakeMarket()
    assert update(store, market) == [(0, True), (78, False), (0, True)]
    assert market.asked == [(MONDAY.day, ["AMD", "NVDA"])]


def test_a_new_symbol_is_fetched_alone_and_merged(store: BarStore, folder: Path) -> None:
    update(store, FakeMarket(price=100.0))
    market = FakeMarket(price=7.0)
    assert update(store, market, symbols=["NVDA", "TSLA"]) == [(39, False)] * 3
    assert market.asked == [(FRIDAY.day, ["TSLA"])]  # all its sessions at once
    assert note(folder, FRIDAY)["symbols"] == ["AMD", "NVDA", "TSLA"]
    assert read(store).groupby("symbol")["close"].agg(["count", "min", "max"]).values.tolist() == [
        [117, 100.0, 100.0],
        [117, 100.0, 100.0],
        [117, 7.0, 7.0],
    ]
    pd.testing.assert_frame_equal(read(store), check_bars(read(store)))


def test_a_symbol_that_had_no_bars_is_not_asked_for_again(store: BarStore) -> None:
    update(store, FakeMarket(silent=["AMD"]))
    assert read(store)["symbol"].unique().tolist() == ["NVDA"]
    market = FakeMarket()
    update(store, market)
    assert market.asked == []


def test_a_session_still_open_is_stored_incomplete_and_fetched_again_later(store: BarStore, folder: Path) -> None:
    market = FakeMarket(price=1.0)
    noon = TUESDAY.open + 61 * MINUTE
    assert update(store, market, sessions=[TUESDAY], now=noon) == [(14, False)]
    assert note(folder, TUESDAY)["complete"] is False
    assert read(store)["timestamp"].max() + MINUTE <= noon
    assert update(store, FakeMarket(price=2.0), sessions=[TUESDAY], now=TUESDAY.close - MINUTE) == [(78, False)]
    assert note(folder, TUESDAY)["complete"] is False
    assert update(store, FakeMarket(price=3.0), sessions=[TUESDAY], now=TUESDAY.close) == [(78, False)]
    assert note(folder, TUESDAY)["complete"] is True
    assert set(read(store)["close"]) == {3.0}
    assert update(store, FakeMarket(), sessions=[TUESDAY]) == [(0, True)]


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_no_longer_given_was_withdrawn_only_where_all_there_is_was_given(store: BarStore, whole: bool) -> None:
    update(store, FakeMarket(), sessions=[TUESDAY], now=TUESDAY.open + 61 * MINUTE)
    late = FakeMarket(silent=["AMD"])
    assert len(list(store.update(late.bars, "iex", ["AMD"], [TUESDAY], LATER, whole=whole))) == 1
    assert set(read(store)["symbol"]) == ({"NVDA"} if whole else {"AMD", "NVDA"})


def test_another_feed_is_fetched_anew(store: BarStore, folder: Path) -> None:
    update(store, FakeMarket(price=1.0))
    assert update(store, FakeMarket(price=2.0), feed="sip") == [(78, False)] * 3
    assert note(folder, MONDAY)["feed"] == "sip"
    assert set(read(store)["close"]) == {2.0}


@pytest.mark.parametrize(("room", "chunks"), [(1, 3), (2 * 2 * 390, 2), (3 * 2 * 390, 1)])
def test_sessions_are_fetched_together_while_they_fit_into_a_chunk(
    store: BarStore, monkeypatch: pytest.MonkeyPatch, room: int, chunks: int
) -> None:
    monkeypatch.setattr("market.bar_store.CHUNK_BARS", room)
    market = FakeMarket()
    assert update(store, market) == [(78, False)] * 3
    assert len(market.asked) == chunks
    pd.testing.assert_frame_equal(read(store), check_bars(read(store)))


def test_a_session_is_complete_only_once_its_last_bars_have_settled(store: BarStore, folder: Path) -> None:
    for minutes, complete in ((19, False), (20, True)):
        now = TUESDAY.close + minutes * MINUTE
        list(store.update(FakeMarket().bars, "iex", ["AMD"], [TUESDAY], now, settle=20 * MINUTE))
        assert note(folder, TUESDAY)["complete"] is complete
    assert store.days(complete=True) == [TUESDAY.day]


def test_a_symbol_whose_bars_were_unusable_is_asked_for_again(store: BarStore, folder: Path) -> None:
    list(store.update(FakeMarket(silent=["AMD"]).bars, "iex", ["AMD", "NVDA"], WEEK, LATER, unusable={"AMD"}))
    assert note(folder, MONDAY)["symbols"] == ["NVDA"]
    market = FakeMarket()
    update(store, market)
    assert market.asked == [(FRIDAY.day, ["AMD"])]


def test_a_forgotten_symbol_is_fetched_anew_and_the_others_stay(store: BarStore, folder: Path) -> None:
    update(store, FakeMarket(price=1.0))
    store.forget(["AMD"])
    assert read(store)["symbol"].unique().tolist() == ["NVDA"]
    assert note(folder, MONDAY)["symbols"] == ["NVDA"]
    market = FakeMarket(price=2.0)
    update(store, market)
    assert market.asked == [(FRIDAY.day, ["AMD"])]
    assert read(store).groupby("symbol")["close"].first().to_dict() == {"AMD": 2.0, "NVDA": 1.0}


def test_forgetting_ends_with_the_newest_day_so_that_a_cut_is_seen_again(
    store: BarStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    update(store, FakeMarket())
    replace = Path.replace

    def fails_on_tuesday(source: Path, target: Path) -> Path:
        if target.stem == str(TUESDAY.day):
            raise OSError(28, "No space left on device")
        return replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fails_on_tuesday)
        with pytest.raises(OSError, match="No space left"):
            store.forget(["AMD"])
    assert set(store.read(TUESDAY.day, TUESDAY.day)["symbol"]) == {"AMD", "NVDA"}
    assert set(store.read(FRIDAY.day, MONDAY.day)["symbol"]) == {"NVDA"}


def test_two_processes_that_add_different_symbols_both_keep_theirs(store: BarStore, folder: Path) -> None:
    class Slow(FakeMarket):
        """While it answers, another process fetches another symbol."""

        def bars(self, symbols: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
            update(BarStore(folder), FakeMarket(), symbols=["TSLA"])
            return super().bars(symbols, start, end)

    update(store, Slow(), symbols=["AMD"])
    assert read(store)["symbol"].unique().tolist() == ["AMD", "TSLA"]
    assert note(folder, MONDAY)["symbols"] == ["AMD", "TSLA"]


# --- after a crash --------------------------------------------------------------------------------------------------


def test_bars_whose_note_was_not_written_are_fetched_again(
    store: BarStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def fails_at_notes(source: Path, target: Path) -> Path:
        if target.suffix == ".json":
            raise OSError(28, "No space left on device")
        return replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fails_at_notes)
        with pytest.raises(OSError, match="No space left"):
            update(store, FakeMarket(price=1.0))
    assert [p.name for p in folder.iterdir()] == [f"{FRIDAY.day}.parquet"]
    assert update(store, FakeMarket(price=2.0)) == [(78, False)] * 3
    assert set(read(store)["close"]) == {2.0}


def test_a_note_whose_bars_are_gone_is_worth_nothing(store: BarStore, folder: Path) -> None:
    update(store, FakeMarket())
    (folder / f"{MONDAY.day}.parquet").unlink()
    market = FakeMarket()
    assert update(store, market) == [(0, True), (78, False), (0, True)]


def test_a_fetch_that_fails_keeps_the_sessions_before_it(store: BarStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("market.bar_store.CHUNK_BARS", 2 * 390)

    class Broken(FakeMarket):
        def bars(self, symbols: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
            if start == MONDAY.open:
                raise ConnectionError
            return super().bars(symbols, start, end)

    with pytest.raises(ConnectionError):
        update(store, Broken())
    market = FakeMarket()
    assert update(store, market) == [(0, True), (78, False), (78, False)]


# --- reading --------------------------------------------------------------------------------------------------------


def test_reading_gives_the_days_and_symbols_asked_for_both_ends_included(store: BarStore) -> None:
    update(store, FakeMarket())
    first_two = store.read(FRIDAY.day, MONDAY.day)
    assert sorted(set(first_two["timestamp"].dt.date)) == [FRIDAY.day, MONDAY.day]
    assert sorted(set(store.read(MONDAY.day, MONDAY.day)["timestamp"].dt.date)) == [MONDAY.day]
    assert read(store, ["NVDA", "GME"])["symbol"].unique().tolist() == ["NVDA"]
    assert len(read(store, [])) == 0
    assert first_two.index.tolist() == list(range(len(first_two)))


def test_the_newest_sessions_are_read_and_no_more_than_there_are(store: BarStore) -> None:
    update(store, FakeMarket())
    assert sorted(set(store.read_newest(2)["timestamp"].dt.date)) == [MONDAY.day, TUESDAY.day]
    assert len(store.read_newest(100)) == len(read(store))


def test_who_asks_for_complete_sessions_gets_no_half_of_one(store: BarStore) -> None:
    update(store, FakeMarket(), sessions=[FRIDAY, TUESDAY])
    update(store, FakeMarket(), sessions=[MONDAY], now=MONDAY.open + 61 * MINUTE)
    whole = store.read(FRIDAY.day, TUESDAY.day, complete=True)
    assert sorted(set(whole["timestamp"].dt.date)) == [FRIDAY.day, TUESDAY.day]
    pd.testing.assert_frame_equal(store.read_newest(complete=True), whole)
    with pytest.raises(NoBars, match="no complete session from 2026-03-02 to 2026-03-02"):
        store.read(MONDAY.day, MONDAY.day, complete=True)


def test_no_bars_are_refused_with_the_cure(store: BarStore) -> None:
    for reading in (lambda: read(store), lambda: store.read_newest(5)):
        with pytest.raises(NoBars, match=r"python build_dataset\.py"):
            reading()
    update(store, FakeMarket(), sessions=[FRIDAY])
    with pytest.raises(NoBars, match="no bars from 2026-03-02 to 2026-03-03"):
        store.read(MONDAY.day, TUESDAY.day)


@pytest.mark.parametrize("content", [b"", b"not a parquet file", bytes(range(256)) * 10, None])
def test_a_file_that_cannot_be_read_is_refused_by_name_and_left(
    store: BarStore, folder: Path, content: bytes | None
) -> None:
    update(store, FakeMarket())
    path = folder / f"{MONDAY.day}.parquet"
    content = path.read_bytes()[:-20] if content is None else content  # None: cut off
    path.write_bytes(content)
    with pytest.raises(BadBars, match=rf"{MONDAY.day}\.parquet: cannot be read"):
        read(store)
    with pytest.raises(BadBars, match="delete it and run"):
        update(store, FakeMarket(), symbols=["TSLA"])
    assert path.read_bytes() == content
    assert len(store.read(FRIDAY.day, FRIDAY.day)) == 78 + 39


def test_bars_of_another_feed_do_not_stay_under_the_new_feeds_note(tmp_path):
    store = BarStore(tmp_path)
    update(store, FakeMarket(price=1.0))
    update(store, FakeMarket(price=2.0), symbols=["NVDA"], feed="sip")
    assert set(read(store)["close"]) == {2.0}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"my": "notes"}'])
def test_a_note_that_cannot_be_read_is_worth_nothing(tmp_path, content):
    store = BarStore(tmp_path)
    update(store, FakeMarket())
    (tmp_path / f"{MONDAY.day}.json").write_text(content)
    assert update(store, FakeMarket()) == [(0, True), (78, False), (0, True)]


# --- splits ----------------------------------------------------------------------------------------------------------


def test_when_splits_were_found_is_kept_for_every_process(store: BarStore, folder: Path) -> None:
    assert store.splits() == {}
    update(store, FakeMarket())
    store.note_splits({"NVDA", "AMD"}, MONDAY.close)
    BarStore(folder).note_splits({"AMD"}, LATER)
    assert store.splits() == {"NVDA": MONDAY.close, "AMD": LATER}
    assert store.days() == [session.day for session in WEEK]


@pytest.mark.parametrize("content", ["", "[]", '{"NVDA": 3}', '{"NVDA": "soon"}'])
def test_a_damaged_list_of_splits_is_no_empty_one(store: BarStore, folder: Path, content: str) -> None:
    update(store, FakeMarket())
    (folder / "splits.json").write_text(content)
    with pytest.raises(BadBars, match=r"splits.json: cannot be read .*; delete it and start again"):
        store.splits()
