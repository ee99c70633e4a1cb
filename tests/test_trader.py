"""The trading minute, with confidences as the tests want them and prices made by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from bookkeeping import view_of
from trading import journal_of, settings_in

from alpaca_wire import Unreachable
from config import Settings
from desk.books import BooksDisagree
from desk.halt import ask_to_halt, ask_to_resume
from desk.journal import Journal
from desk.orders import Position
from desk.paper_broker import PaperBroker
from learning.model_store import NoModel
from learning.prediction_log import PredictionLog
from market.bars import Bar, check_bars
from market.clock import ReplayClock
from market.hours import Session, epoch_minute, sessions_between
from market.recorded_feed import RecordedFeed
from model_in_use import Prediction
from trader import LiveTrader

DAYS = sessions_between(date(2026, 11, 24), date(2026, 12, 1))  # 24, 25, 27 (early close), 30, 1
AT_100 = (100.0, 100.0, 100.0, 100.0)


def market(
    symbols: Sequence[str] = ("AAA", "BBB"),
    sessions: Sequence[Session] = DAYS,
    special: dict[tuple[str, datetime], tuple[float, float, float, float]] | None = None,
) -> RecordedFeed:
    """Every symbol stands at 100 USD in every minute, but for the `special` bars (open, high, low, close)."""
    rows = []
    for symbol in symbols:
        for session in sessions:
            for i in range(session.minutes):
                when = session.open + timedelta(minutes=i)
                rows.append((symbol, when, *(special or {}).get((symbol, when), AT_100), 1000.0))
    return RecordedFeed(
        check_bars(pd.DataFrame(rows, columns=list(Bar._fields)).rename(columns={"minute": "timestamp"}))
    )


@dataclass
class FakePredictor:
    """Confidence by symbol and minute; 0.1 where the test says nothing. `own` is the model's, where it was lowered.

    `asked` lists what was asked of it besides predictions, in order.
    """

    folder: Path
    wanted: dict[tuple[str, datetime], float]
    proven: bool = True
    missing: bool = False
    break_even: float | None = 0.44
    own: dict[tuple[str, datetime], float] = field(default_factory=dict)
    light: str | None = None  # of the newest review; without one there is none
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log = PredictionLog(self.folder / "predictions")

    def review(self, now: datetime) -> Any:
        return None if self.light is None else {"drift": {"light": self.light, "words": "wilder days than learnt"}}

    def why(self, now: datetime, symbol: str) -> list[dict[str, Any]]:
        self.asked.append(f"why {symbol}")
        return [{"feature": "rsi", "value": 1 / 3, "contribution": 0.1}]

    def remember(self, now: datetime) -> None:
        self.asked.append("remember")

    def write(self) -> None:
        self.log.write()
        self.asked.append("write")

    def model(self, now: datetime) -> Any:
        if self.missing:
            raise NoModel("No trained model found in models. Run: python ml_trainer.py")
        card = {"proven": self.proven, "reason": "a test", "baseline": {"break_even_confidence": self.break_even}}
        return SimpleNamespace(stamp="20261123_200000", card=card)

    def at_minute(self, now: datetime, symbols: Sequence[str], new_bars: Iterable[Bar], since: int) -> list[Prediction]:
        always = self.wanted.get
        return [
            Prediction(s, always((s, now), always((s, None), 0.1)), 100.0, None, self.own.get((s, now)))  # type: ignore[arg-type]
            for s in symbols
        ]


@dataclass
class Desk:
    """A trader at work, and what it works with."""

    trader: LiveTrader
    broker: PaperBroker
    journal: Journal
    predictor: FakePredictor
    said: list[str]

    def run(self, *sessions: Session, until: datetime | None = None, after: datetime | None = None) -> None:
        for session in sessions:
            for now in ReplayClock([session]):
                if (until and now > until) or (after and now <= after):
                    continue
                if session.open <= now <= session.close:
                    self.trader.minute(now)
                elif now < session.open:
                    self.trader.rebalance(now)

    def trades(self) -> list[Any]:
        return list(self.trader.books.trades.values())


@contextmanager
def desk(
    folder: Path,
    feed: RecordedFeed,
    wanted: dict[tuple[str, Any], float],
    *,
    entries: bool = True,
    settings: Settings | None = None,
    start: datetime | None = None,
    each_minute_on_disk: bool = False,
    **predictor: Any,
) -> Iterator[Desk]:
    settings = settings or settings_in(folder)
    broker = PaperBroker(settings.MODELS_DIR / "paper_account.json", settings.PAPER_CASH, settings.ROUND_TRIP_COST_PCT)
    said: list[str] = []
    fake = FakePredictor(settings.MODELS_DIR, wanted, **predictor)
    with Journal(settings.MODELS_DIR / "journal.jsonl", "stamp", sync_each_order=each_minute_on_disk) as journal:
        trader = LiveTrader(
            settings, feed=feed, broker=broker, journal=journal, predictor=fake, entries=entries, say=said.append
        )
        trader.start(start or DAYS[0].open - timedelta(hours=6))
        yield Desk(trader, broker, journal, fake, said)


def at(session: Session, hhmm: str) -> datetime:
    hours, minutes = map(int, hhmm.split(":"))
    return session.open + timedelta(minutes=(hours * 60 + minutes) - (9 * 60 + 30))


def test_a_signal_is_bought_at_the_next_open_and_sold_after_one_session_of_market_time(tmp_path: Path) -> None:
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "10:00")): 0.8}) as d:
        d.run(*DAYS[:2])
        (trade,) = d.trades()
    assert (trade.status, trade.qty, trade.exit_reason) == ("CLOSED", 5, "time")
    assert trade.entry_time == "2026-11-24T10:00:00-05:00"
    assert trade.exit_time == "2026-11-25T10:00:00-05:00"
    assert trade.price == pytest.approx(100 * 1.0003)
    assert trade.stop_loss == pytest.approx(98.0)
    assert trade.take_profit == pytest.approx(104.0)


def test_market_time_stands_still_over_holidays_and_runs_short_on_early_closes(tmp_path: Path) -> None:
    with desk(tmp_path, market(), {("AAA", at(DAYS[1], "15:00")): 0.8}) as d:
        d.run(*DAYS)
        (trade,) = d.trades()
    # 60 minutes on the 25th, 210 on the 27th, and the last 120 of 390 on the 30th
    assert trade.exit_time == "2026-11-30T11:30:00-05:00"


def test_without_a_holding_limit_a_position_stays_to_the_end(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, MAX_HOLDING_MINUTES=None)
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "10:00")): 0.8}, settings=settings) as d:
        d.run(*DAYS)
        (trade,) = d.trades()
    assert trade.status == "OPEN"


@pytest.mark.parametrize(
    ("bar", "reason", "raw_price"),
    [
        ((100.0, 100.0, 97.5, 98.5), "stop", 98.0),
        ((97.0, 99.0, 96.0, 98.5), "stop", 97.0),
        ((100.0, 104.5, 100.0, 104.2), "target", 104.0),
        ((105.0, 106.0, 104.5, 105.0), "target", 105.0),
        ((100.0, 105.0, 97.0, 100.0), "stop", 98.0),
    ],
)
def test_every_minute_looks_after_stop_and_target(
    tmp_path: Path, bar: tuple[float, float, float, float], reason: str, raw_price: float
) -> None:
    feed = market(special={("AAA", at(DAYS[0], "11:00")): bar})
    with desk(tmp_path, feed, {("AAA", at(DAYS[0], "10:00")): 0.8}) as d:
        d.run(DAYS[0])
        (trade,) = d.trades()
    assert (trade.exit_reason, trade.exit_time) == (reason, "2026-11-24T11:00:00-05:00")
    assert trade.exit_price == pytest.approx(raw_price * 0.9997, abs=1e-4)


def test_no_entry_is_made_at_the_open_nor_at_the_close(tmp_path: Path) -> None:
    with desk(tmp_path, market(["AAA"]), {("AAA", DAYS[0].open): 0.9, ("AAA", DAYS[0].close): 0.9}) as d:
        d.run(DAYS[0])
        assert d.trades() == []


def test_the_last_entry_is_a_minute_before_the_close(tmp_path: Path) -> None:
    with desk(tmp_path, market(["AAA"]), {("AAA", at(DAYS[0], "15:59")): 0.9}) as d:
        d.run(DAYS[0])
        assert [t.entry_time for t in d.trades()] == ["2026-11-24T15:59:00-05:00"]


def test_a_symbol_is_never_held_twice(tmp_path: Path) -> None:
    with desk(tmp_path, market(), {("AAA", None): 0.9}) as d:
        d.run(DAYS[0])
        assert [t.symbol for t in d.trades()] == ["AAA"]
        assert d.broker.positions()["AAA"].qty == 5


def test_the_most_confident_come_first_and_the_rest_is_told_why_not(tmp_path: Path) -> None:
    symbols = [f"S{i:02}" for i in range(12)]
    when = at(DAYS[0], "10:00")
    wanted = {(symbol, when): 0.70 + i / 100 for i, symbol in enumerate(symbols)}
    with desk(tmp_path, market(symbols, DAYS[:1]), wanted) as d:
        d.run(DAYS[0])
        assert {t.symbol for t in d.trades()} == set(symbols[2:])
        refused = [s for s in d.trader.books.signals if not s["taken"]]
    assert {s["symbol"] for s in refused} == {"S00", "S01"}
    assert all("10 positions are open (MAX_OPEN_POSITIONS)" in s["reason"] for s in refused)


def test_a_signal_is_written_down_when_it_appears_and_again_only_after_it_fell(tmp_path: Path) -> None:
    wanted = {("AAA", at(DAYS[0], f"10:0{i}")): value for i, value in enumerate((0.7, 0.8, 0.65, 0.64, 0.65, 0.9))}
    with desk(tmp_path, market(), wanted) as d:
        d.run(DAYS[0])
        signals = d.trader.books.signals
    assert [s["timestamp"][11:16] for s in signals] == ["10:00", "10:04"]
    assert [(s["taken"], s["reason"]) for s in signals] == [(True, "ordered"), (False, "already held")]


@pytest.mark.parametrize(("confidence", "bought"), [(0.65, 1), (0.6499, 0)])
def test_the_threshold_itself_is_enough(tmp_path: Path, confidence: float, bought: int) -> None:
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "10:00")): confidence}) as d:
        d.run(DAYS[0])
        assert len(d.trades()) == bought


@pytest.mark.parametrize(("break_even", "lines"), [(0.7, 1), (0.6, 0), (None, 0)])
def test_a_threshold_below_the_break_even_of_the_model_is_said(
    tmp_path: Path, break_even: float | None, lines: int
) -> None:
    with desk(tmp_path, market(), {}) as d:
        d.predictor.break_even = break_even
        d.run(DAYS[0], until=at(DAYS[0], "09:40"))
        assert sum("is below its break-even" in line for line in d.said) == lines


def test_watching_only_writes_signals_and_buys_nothing(tmp_path: Path) -> None:
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "10:00")): 0.9}, entries=False) as d:
        d.run(DAYS[0])
        assert d.trades() == []
        assert "--no-entries" in d.trader.books.signals[0]["reason"]


@pytest.mark.parametrize(("proven", "bought"), [(True, 1), (False, 0)])
def test_proof_can_be_required(tmp_path: Path, proven: bool, bought: int) -> None:
    settings = settings_in(tmp_path, REQUIRE_PROOF=True)
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "10:00")): 0.9}, settings=settings, proven=proven) as d:
        d.run(DAYS[0])
        assert len(d.trades()) == bought


def test_without_a_model_positions_are_watched_and_it_is_said_once(tmp_path: Path) -> None:
    feed = market(special={("AAA", at(DAYS[0], "11:00")): (100.0, 100.0, 97.0, 98.0)})
    with desk(tmp_path, feed, {("AAA", at(DAYS[0], "10:00")): 0.9}) as d:
        d.run(DAYS[0], until=at(DAYS[0], "10:05"))
        d.predictor.missing = True
        d.run(DAYS[0], after=at(DAYS[0], "10:05"))
        (trade,) = d.trades()
        assert trade.exit_reason == "stop"
        assert sum("No trained model found" in line for line in d.said) == 1


def test_shares_are_what_the_risk_allows(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, MAX_POSITION_SIZE=1000, RISK_PER_TRADE_PCT=0.001)
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "10:00")): 0.9}, settings=settings) as d:
        d.run(DAYS[0])
        (trade,) = d.trades()
    assert trade.qty == 50  # 100 USD at risk, 2 USD a share


def test_an_account_too_small_for_a_share_says_so(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, PAPER_CASH=100.0, RISK_PER_TRADE_PCT=0.5, MAX_POSITION_PCT=1.0)
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "10:00")): 0.9}, settings=settings) as d:
        d.run(DAYS[0])
        reasons = [t.exit_reason for t in d.trades()] + [s["reason"] for s in d.trader.books.signals]
    assert any("cash" in str(r) or "buying power" in str(r) for r in reasons)


def test_a_held_symbol_is_watched_though_it_left_the_list(tmp_path: Path) -> None:
    feed = market(special={("AAA", at(DAYS[0], "11:00")): (100.0, 100.0, 97.0, 98.0)})
    settings = settings_in(tmp_path, SYMBOLS=("AAA",))
    with desk(tmp_path, feed, {("AAA", at(DAYS[0], "10:00")): 0.9}, settings=settings) as d:
        d.run(DAYS[0], until=at(DAYS[0], "10:30"))
        d.trader.settings = replace(settings, SYMBOLS=("BBB",))
        d.run(DAYS[0], after=at(DAYS[0], "10:30"))
        (trade,) = d.trades()
    assert trade.exit_reason == "stop"


def test_the_day_ends_with_a_summary_and_explained_silence(tmp_path: Path) -> None:
    with desk(tmp_path, market(), {("BBB", at(DAYS[0], "14:30")): 0.61, ("AAA", at(DAYS[0], "11:30")): 0.56}) as d:
        d.run(DAYS[0])
        event = [e for e in journal_of(d.trader.settings) if e["kind"] == "session"][-1]
    silence = d.said[-1]
    for words in ("No buy signals generated", "0.61 (BBB at 14:30)", "threshold 0.65", "break-even 0.44"):
        assert words in silence
    assert event["signals_at"] == {"0.60": 1, "0.55": 2, "0.50": 2}
    assert event["predicted"] == 2 * 389


@pytest.mark.parametrize("stop_at", ["09:30", "10:00", "10:01", "13:00", "16:00"])
def test_a_process_that_ends_and_starts_again_leaves_the_same_books(tmp_path: Path, stop_at: str) -> None:
    feed = market(special={("AAA", at(DAYS[1], "10:30")): (100.0, 100.0, 97.0, 98.0)})
    wanted = {
        ("AAA", at(DAYS[0], "10:00")): 0.8,
        ("BBB", at(DAYS[0], "12:59")): 0.7,
        ("BBB", at(DAYS[1], "14:00")): 0.9,
    }
    views = []
    for name, cut in (("whole", None), ("cut", at(DAYS[0], stop_at))):
        folder = tmp_path / name
        with desk(folder, feed, wanted) as d:
            d.run(DAYS[0], until=cut)
            d.run(DAYS[1], until=cut)
            d.trader.keeping.flush()
        if cut:
            with desk(folder, feed, wanted, start=cut) as d:
                d.run(DAYS[0], after=cut)
                d.run(DAYS[1])
                d.trader.keeping.flush()
        views.append(json.loads((folder / "models" / "trade_history.json").read_text()))
    assert views[0] == views[1]
    assert len(views[0]["trades"]) == 3


def test_an_intent_that_never_reached_the_broker_is_withdrawn_at_the_next_start(tmp_path: Path) -> None:
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "10:00")): 0.8}) as d:
        d.run(DAYS[0], until=at(DAYS[0], "09:59"))
        d.broker.submit = lambda order: (_ for _ in ()).throw(KeyboardInterrupt)  # killed between journal and order
        with pytest.raises(KeyboardInterrupt):
            d.trader.minute(at(DAYS[0], "10:00"))
    with desk(tmp_path, market(), {}, start=at(DAYS[0], "10:05")) as d:
        (trade,) = d.trades()
    assert (trade.status, trade.exit_reason) == ("CANCELLED", "never reached the broker")


def test_a_fill_that_the_books_missed_is_taken_in_at_the_next_start(tmp_path: Path) -> None:
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "10:00")): 0.8}) as d:
        d.run(DAYS[0], until=at(DAYS[0], "10:00"))
        feed = market()
        d.broker.settle(epoch_minute(at(DAYS[0], "10:01")), feed.new_bars(["AAA"], 0, at(DAYS[0], "10:01")))
    with desk(tmp_path, market(), {}, start=at(DAYS[0], "10:05")) as d:
        (trade,) = d.trades()
    assert (trade.status, trade.qty) == ("OPEN", 5)


def test_books_and_broker_that_cannot_agree_stop_everything(tmp_path: Path) -> None:
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "10:00")): 0.8}) as d:
        d.run(DAYS[0])
        d.trader.keeping.flush()
    (tmp_path / "models" / "paper_account.json").unlink()
    with pytest.raises(BooksDisagree, match="AAA"), desk(tmp_path, market(), {}, start=DAYS[1].open):
        pass


def test_shares_that_are_not_ours_are_left_alone_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with desk(tmp_path, market(), {}) as d:
        d.broker._positions["ZZZ"] = Position("ZZZ", 7, 50.0, 1, 40.0, 60.0, 50.0)
        d.run(DAYS[0])
        assert d.broker.positions()["ZZZ"].qty == 7
    assert "ZZZ: 7 shares at the broker are not ours" in caplog.text


def test_a_price_beyond_its_level_before_the_open_is_sold_as_the_first_act_of_the_session(tmp_path: Path) -> None:
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "15:00")): 0.8}) as d:
        d.run(DAYS[0])
        held = d.broker.positions()["AAA"]
        d.broker._positions["AAA"] = replace(held, last_price=97.0)  # a stop that did not fire
        d.run(DAYS[1])
        (trade,) = d.trades()
    assert (trade.exit_reason, trade.exit_time) == ("stop", "2026-11-25T09:30:00-05:00")
    assert any("to be sold at the open: AAA (stop)" in line for line in d.said)


def test_the_journal_holds_the_intent_before_the_order_leaves(tmp_path: Path) -> None:
    seen = []
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "10:00")): 0.8}, each_minute_on_disk=True) as d:
        submit = d.broker.submit

        def watching(order: Any) -> None:
            seen.append([e["order_id"] for e in journal_of(d.trader.settings) if e["kind"] in ("intent", "exit")])
            submit(order)

        d.broker.submit = watching  # type: ignore[method-assign]
        d.run(*DAYS[:2])
    assert seen == [["0-20261124-AAA-buy-1"], ["0-20261124-AAA-buy-1", "0-20261124-AAA-buy-1-sell-1"]]


def test_a_summary_needs_nothing_but_the_books(tmp_path: Path) -> None:
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "10:00")): 0.8}) as d:
        d.run(*DAYS[:2])
        settings = d.trader.settings
        summary = LiveTrader(settings).get_performance_summary()  # while the other one holds the lock
    assert (summary["closed_trades"], summary["open_trades"]) == (1, 0)
    assert summary["total_pnl"] == pytest.approx(-0.3, abs=0.001)
    empty = LiveTrader(settings_in(tmp_path / "empty")).get_performance_summary()
    assert set(empty.values()) == {0}
    assert not (tmp_path / "empty").exists()


def test_a_minute_that_breaks_off_loses_no_bar_and_no_stop(tmp_path: Path) -> None:
    feed = market(special={("AAA", at(DAYS[0], "11:00")): (100.0, 100.0, 97.0, 98.5)})
    with desk(tmp_path, feed, {("AAA", at(DAYS[0], "10:00")): 0.8}) as d:
        d.run(DAYS[0], until=at(DAYS[0], "11:00"))
        settle = d.broker.settle
        d.broker.settle = lambda minute, bars: (_ for _ in ()).throw(OSError("disk full"))  # type: ignore[method-assign]
        with pytest.raises(OSError, match="disk full"):
            d.trader.minute(at(DAYS[0], "11:01"))
        d.broker.settle = settle  # type: ignore[method-assign]
        d.run(DAYS[0], after=at(DAYS[0], "11:01"))
        (trade,) = d.trades()
    assert (trade.exit_reason, trade.exit_time) == ("stop", "2026-11-24T11:00:00-05:00")


def test_a_signal_that_lasts_over_a_restart_is_written_once(tmp_path: Path) -> None:
    with desk(tmp_path, market(), {("AAA", None): 0.8}) as d:
        d.run(DAYS[0], until=at(DAYS[0], "12:00"))
        # bought in the second minute: the first bar of a process has none before it that would confirm its price
        assert [(s["taken"], s["reason"].partition(":")[0]) for s in d.trader.books.signals] == [
            (False, "price spike"), (True, "ordered"),
        ]  # fmt: skip
    with desk(tmp_path, market(), {("AAA", None): 0.8}, start=at(DAYS[0], "12:00")) as d:
        d.run(DAYS[0], after=at(DAYS[0], "12:00"))
        assert len(d.trader.books.signals) == 2


def test_a_drawdown_starts_from_the_cash_of_the_first_day_whatever_the_setting_says_now(tmp_path: Path) -> None:
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "10:00")): 0.8}) as d:
        d.run(*DAYS[:2])
    richer = settings_in(tmp_path, PAPER_CASH=200_000.0)
    assert LiveTrader(richer).get_performance_summary()["max_drawdown"] < 0.001


def test_a_signal_refused_at_first_is_written_again_when_it_is_bought(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, MAX_OPEN_POSITIONS=1, MAX_HOLDING_MINUTES=30)
    wanted = {("AAA", at(DAYS[0], "10:00")): 0.9, ("BBB", None): 0.7}
    with desk(tmp_path, market(), wanted, settings=settings) as d:
        d.run(DAYS[0], until=at(DAYS[0], "10:40"))
        bought = [t.symbol for t in d.trades()]
        taken = [s["symbol"] for s in d.trader.books.signals if s["taken"]]
    assert bought == taken
    assert "BBB" in bought


def test_a_journal_that_was_lost_while_the_account_was_not_is_refused(tmp_path: Path) -> None:
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "10:00")): 0.8}) as d:
        d.run(*DAYS[:2])
    (tmp_path / "models" / "journal.jsonl").unlink()
    with pytest.raises(BooksDisagree, match="0-20261124-AAA-buy-1"), desk(tmp_path, market(), {}, start=DAYS[2].open):
        pass


# --- what outcomes have taught ---------------------------------------------------------------------------------------


def test_a_signal_that_learnt_costs_turn_down_is_written_with_the_reason_and_not_bought(tmp_path: Path) -> None:
    when = at(DAYS[0], "10:00")
    with desk(tmp_path, market(), {("AAA", when): 0.4}, own={("AAA", when): 0.8}) as d:
        d.run(DAYS[0])
        assert d.trades() == []
        (signal,) = d.trader.books.signals
        (kept,) = [p for p in d.predictor.log.read("AAA") if p["timestamp"][11:16] == "10:00"]
    assert (signal["taken"], signal["confidence"]) == (False, 0.8)
    assert signal["reason"] == "learnt from outcomes: confidence 0.80 becomes 0.40"
    assert (kept["confidence"], kept["model_confidence"], kept["signal"]) == (0.4, 0.8, 0)
    assert "No signal led to a purchase: 1 learnt from outcomes; highest confidence 0.40" in d.said[-1]


def test_a_lowered_confidence_that_still_reaches_the_threshold_is_bought_and_both_are_kept(tmp_path: Path) -> None:
    when = at(DAYS[0], "10:00")
    with desk(tmp_path, market(), {("AAA", when): 0.7}, own={("AAA", when): 0.8}) as d:
        d.run(DAYS[0])
        (trade,) = json.loads(json.dumps(view_of(d.trader.books)))["trades"]
        (signal,) = d.trader.books.signals
    assert (trade["confidence"], trade["model_confidence"]) == (0.7, 0.8)
    assert (signal["confidence"], signal["taken"]) == (0.8, True)


@pytest.mark.parametrize(("light", "lines"), [("red", 2), ("amber", 2), ("green", 0), (None, 0)])
def test_a_drift_light_that_is_not_green_is_said_once_at_each_open(
    tmp_path: Path, light: str | None, lines: int
) -> None:
    with desk(tmp_path, market(["AAA"]), {}, light=light) as d:
        d.run(*DAYS[:2])
    said = [line for line in d.said if "drift is" in line]
    assert len(said) == lines
    assert all(f"09:30  drift is {light}: wilder days than learnt" in line for line in said)


@pytest.mark.parametrize(("stops", "bought"), [(True, ["AAA"]), (False, ["AAA", "BBB"])])
def test_red_drift_stops_entries_only_where_the_setting_says_so_and_exits_go_on(
    tmp_path: Path, stops: bool, bought: list[str]
) -> None:
    feed = market(special={("AAA", at(DAYS[1], "09:45")): (100.0, 100.0, 97.0, 98.0)})
    wanted = {("AAA", at(DAYS[0], "15:00")): 0.8, ("BBB", at(DAYS[1], "10:00")): 0.8}
    settings = settings_in(tmp_path, STOP_ENTRIES_ON_RED_DRIFT=stops)
    with desk(tmp_path, feed, wanted, settings=settings) as d:
        d.run(DAYS[0])
        d.predictor.light = "red"
        d.run(DAYS[1])
        assert [t.symbol for t in d.trades()] == bought
        assert (d.trades()[0].exit_reason, d.trades()[0].exit_time) == ("stop", "2026-11-25T09:45:00-05:00")
        reasons = [s["reason"] for s in d.trader.books.signals if not s["taken"]]
    assert reasons == ["the drift light is red (STOP_ENTRIES_ON_RED_DRIFT)"] * stops


# --- why, and who says no --------------------------------------------------------------------------------------------


def test_orders_leave_before_what_was_seen_is_kept_and_reasons_are_computed(tmp_path: Path) -> None:
    when = at(DAYS[0], "10:00")
    with desk(tmp_path, market(), {("AAA", when): 0.8, ("BBB", when): 0.7}) as d:
        d.run(DAYS[0], until=at(DAYS[0], "09:59"))
        submit, asked = d.broker.submit, d.predictor.asked
        asked.clear()
        d.broker.submit = lambda order: (asked.append(f"order {order.symbol}"), submit(order))  # type: ignore[method-assign, assignment, func-returns-value]
        d.run(DAYS[0], until=at(DAYS[0], "10:01"), after=at(DAYS[0], "09:59"))
    assert asked == ["order AAA", "order BBB", "remember", "why AAA", "why BBB", "remember"]


def test_the_features_that_spoke_for_a_purchase_are_kept_with_the_trade(tmp_path: Path) -> None:
    spoke = [{"feature": "rsi", "value": 0.333333, "contribution": 0.1}]
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "10:00")): 0.8}) as d:
        d.run(DAYS[0])
        d.trader.keeping.flush()
        (event,) = [e for e in journal_of(d.trader.settings) if e["kind"] == "why"]
        (trade,) = json.loads((tmp_path / "models" / "trade_history.json").read_text())["trades"]
    assert (event["order_id"], event["spoke"]) == (trade["id"], spoke)
    assert trade["why"] == spoke
    assert d.predictor.asked.count("why AAA") == 1


def test_an_explanation_that_fails_costs_the_trade_nothing(tmp_path: Path) -> None:
    def fails(now: datetime, symbol: str) -> Any:
        raise AttributeError("no trees")

    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "10:00")): 0.8}) as d:
        d.run(DAYS[0], until=at(DAYS[0], "09:59"))
        d.predictor.why = fails  # type: ignore[method-assign]
        with pytest.raises(AttributeError, match="no trees"):
            d.trader.minute(at(DAYS[0], "10:00"))
        assert d.trader.books.last_minute == epoch_minute(at(DAYS[0], "10:00"))
        d.run(DAYS[0], after=at(DAYS[0], "10:00"))
        d.run(DAYS[1])
        (trade,) = d.trades()
    assert (trade.status, trade.exit_reason, trade.why) == ("CLOSED", "time", [])


def test_every_prediction_can_be_told_which_gate_said_no_first(tmp_path: Path) -> None:
    early, ten, later = (at(DAYS[0], hhmm) for hhmm in ("09:59", "10:00", "10:01"))
    wanted = {("AAA", ten): 0.8, ("AAA", later): 0.9, ("BBB", ten): 0.3, ("AAA", DAYS[0].close): 0.9}
    with desk(tmp_path, market(), wanted, own={("BBB", ten): 0.7}) as d:

        def first_no(symbol: str, now: datetime) -> str | None:
            d.run(DAYS[0], until=now, after=now - timedelta(minutes=1))
            (prediction,) = d.predictor.at_minute(now, [symbol], [], 0)
            return d.trader.first_no(prediction, now)

        assert first_no("AAA", early) == "confidence 0.10 is below 0.65"
        assert first_no("AAA", ten) is None
        assert first_no("AAA", later) == "already held"
        assert first_no("BBB", later) == "confidence 0.10 is below 0.65"
        assert first_no("AAA", DAYS[0].close) == "no entry at the session's first and last minute"
        assert first_no("BBB", at(DAYS[1], "09:30")) == "no entry at the session's first and last minute"
    with desk(tmp_path / "again", market(), wanted, own={("BBB", ten): 0.7}) as d:
        assert first_no("BBB", ten) == "learnt from outcomes: confidence 0.70 becomes 0.30"


@pytest.mark.parametrize(("live", "writes"), [(True, 3), (False, 0)])
def test_predictions_come_to_disk_each_minute_live_and_each_session_in_a_replay(
    tmp_path: Path, live: bool, writes: int
) -> None:
    with desk(tmp_path, market(["AAA"]), {}, each_minute_on_disk=live) as d:
        d.run(DAYS[0], until=at(DAYS[0], "09:32"))
        assert d.predictor.asked.count("write") == writes
        d.run(DAYS[0], after=at(DAYS[0], "09:32"))
        assert d.predictor.asked[-1] == "write"


# --- silence ---------------------------------------------------------------------------------------------------------


def silent_sessions(d: Desk) -> list[object]:
    d.trader.keeping.flush()
    return [e["silent_sessions"] for e in journal_of(d.trader.settings) if e["kind"] == "session"]


def test_silent_sessions_are_counted_and_said_until_one_has_a_signal(tmp_path: Path) -> None:
    with desk(tmp_path, market(["AAA"]), {("AAA", at(DAYS[3], "10:00")): 0.8}) as d:
        d.run(*DAYS[:3])
        assert "silent for 3 sessions" in d.said[-1]
        assert "silent" not in d.said[1]  # one session alone is no news
        d.run(*DAYS[3:])
        assert silent_sessions(d) == [1, 2, 3, 0, 1]


def test_a_session_whose_signals_were_all_turned_down_is_not_silent(tmp_path: Path) -> None:
    when = at(DAYS[1], "10:00")
    with desk(tmp_path, market(["AAA"]), {("AAA", when): 0.4}, own={("AAA", when): 0.8}) as d:
        d.run(*DAYS[:2])
        assert silent_sessions(d) == [1, 0]


def test_silence_is_counted_over_a_restart_in_mid_session(tmp_path: Path) -> None:
    wanted = {("AAA", at(DAYS[1], "10:00")): 0.8}
    with desk(tmp_path, market(["AAA"]), wanted) as d:
        d.run(DAYS[0])
        d.run(DAYS[1], until=at(DAYS[1], "11:00"))
    with desk(tmp_path, market(["AAA"]), {}, start=at(DAYS[1], "11:00")) as d:
        d.run(DAYS[1], after=at(DAYS[1], "11:00"))
        d.run(DAYS[2])
        assert silent_sessions(d) == [1, 0, 1]


# --- losses, disks, clocks --------------------------------------------------------------------------------------------


def falling(start: datetime, price: float) -> dict[tuple[str, datetime], tuple[float, float, float, float]]:
    """AAA stands at `price` for twenty minutes from `start` on."""
    return {("AAA", start + timedelta(minutes=i)): (price,) * 4 for i in range(20)}  # type: ignore[misc]


def test_a_day_that_loses_more_than_its_limit_halts_until_somebody_resumes(tmp_path: Path) -> None:
    settings = settings_in(
        tmp_path, PAPER_CASH=1000.0, MAX_DAILY_LOSS_PCT=0.003, STOP_LOSS_PCT=0.01, RISK_PER_TRADE_PCT=0.5
    )
    feed = market(special=falling(at(DAYS[0], "11:00"), 98.0))
    wanted = {
        ("AAA", at(DAYS[0], "10:00")): 0.9,
        ("BBB", at(DAYS[0], "12:00")): 0.9,
        ("BBB", at(DAYS[1], "12:00")): 0.9,
    }
    with desk(tmp_path, feed, wanted, settings=settings) as d:
        d.run(DAYS[0])
        assert "MAX_DAILY_LOSS_PCT" in str(d.trader.books.halt)
        assert [t.symbol for t in d.trades()] == ["AAA"]
        assert d.trader.books.signals[-1]["reason"].startswith("halted: ")
    with desk(tmp_path, feed, wanted, settings=settings) as d:  # a restart does not forget
        d.run(DAYS[1], until=at(DAYS[1], "11:00"))
        assert d.trader.books.halt is not None
        ask_to_resume(settings.MODELS_DIR, "now")
        d.run(DAYS[1], after=at(DAYS[1], "11:00"))
        assert d.trader.books.halt is None
        assert [t.symbol for t in d.trades()] == ["AAA", "BBB"]


def test_a_loss_that_one_minute_shows_alone_is_not_believed(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, PAPER_CASH=1000.0, MAX_DAILY_LOSS_PCT=0.1, RISK_PER_TRADE_PCT=0.5)
    settings = replace(settings, STOP_LOSS_PCT=0.45, MAX_POSITION_PCT=1.0)
    special = {("AAA", at(DAYS[0], "11:00")): (60.0,) * 4}
    with desk(tmp_path, market(special=special), {("AAA", at(DAYS[0], "10:00")): 0.9}, settings=settings) as d:  # type: ignore[arg-type]
        d.run(DAYS[0])
        assert d.trader.books.halt is None
        assert [t.qty for t in d.trades()] == [5]


def test_a_halt_in_mid_session_withdraws_what_is_working_and_keeps_what_is_held(tmp_path: Path) -> None:
    stops = {("BBB", at(DAYS[0], "10:30") + timedelta(minutes=i)) for i in range(5)}
    feed = market()
    feed = RecordedFeed(feed.table[~pd.MultiIndex.from_frame(feed.table[["symbol", "timestamp"]]).isin(list(stops))])
    wanted = {("AAA", at(DAYS[0], "10:00")): 0.9, ("BBB", at(DAYS[0], "10:30")): 0.9}
    with desk(tmp_path, feed, wanted) as d:
        d.run(DAYS[0], until=at(DAYS[0], "10:31"))  # BBB has no bar to fill in
        assert [o.symbol for o in d.broker.working_orders()] == ["BBB"]
        ask_to_halt(d.trader.settings.MODELS_DIR, "a person", "now")
        d.run(DAYS[0], after=at(DAYS[0], "10:31"), until=at(DAYS[0], "10:32"))
        assert d.broker.working_orders() == []
        assert {t.symbol: t.status for t in d.trades()} == {"AAA": "OPEN", "BBB": "CANCELLED"}
        assert set(d.broker.positions()) == {"AAA"}


def test_a_halt_is_heard_at_the_start_before_the_broker_has_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_answer() -> None:
        raise Unreachable("no answer")

    with desk(tmp_path, market(), {}) as d:
        ask_to_halt(d.trader.settings.MODELS_DIR, "looked odd", "now")
        monkeypatch.setattr(d.broker, "recent_executions", no_answer)
        with pytest.raises(Unreachable):
            d.trader.start(DAYS[0].open)
        (d.trader.settings.MODELS_DIR / "HALT").unlink()
        assert d.trader.books.halt == "now looked odd"


def test_to_flatten_sells_all_within_a_minute(tmp_path: Path) -> None:
    wanted = {("AAA", at(DAYS[0], "10:00")): 0.9, ("BBB", at(DAYS[0], "10:00")): 0.9}
    with desk(tmp_path, market(), wanted) as d:
        d.run(DAYS[0], until=at(DAYS[0], "11:00"))
        ask_to_halt(d.trader.settings.MODELS_DIR, "--flatten", "now", flatten=True)
        d.run(DAYS[0], after=at(DAYS[0], "11:00"), until=at(DAYS[0], "11:02"))
        assert d.broker.positions() == {}
        assert [(t.status, t.exit_reason) for t in d.trades()] == [("CLOSED", "by hand")] * 2


def test_a_flatten_asked_for_at_night_survives_the_rebalance(tmp_path: Path) -> None:
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "15:00")): 0.9}) as d:
        d.run(DAYS[0])
        ask_to_halt(d.trader.settings.MODELS_DIR, "--flatten", "now", flatten=True)
        d.trader.halt.hear(epoch_minute(DAYS[0].close) + 60)
        d.run(DAYS[1], until=DAYS[1].open + timedelta(minutes=2))
        assert d.broker.positions() == {}


def test_a_disk_that_takes_nothing_stops_entries_and_not_exits_and_heals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {(s, at(DAYS[0], "10:00")): 0.9 for s in ("AAA",)} | {("BBB", at(DAYS[1], "09:45")): 0.9}
    wanted |= {("BBB", at(DAYS[1], "10:30")): 0.9}
    with desk(tmp_path, market(), wanted, each_minute_on_disk=True) as d:
        d.run(DAYS[0])
        with monkeypatch.context() as patch:
            patch.setattr("durable.os.fsync", full)
            d.run(DAYS[1], until=at(DAYS[1], "10:15"))
            assert d.broker.positions() == {}  # sold by time at 10:01
            assert d.said.count(next(line for line in d.said if "until the disk takes the books" in line)) == 1
        d.run(DAYS[1], after=at(DAYS[1], "10:15"))
        assert any("the disk takes the books again" in line for line in d.said)
        assert [(t.symbol, t.status) for t in d.trades()] == [("AAA", "CLOSED"), ("BBB", "OPEN")]
        assert len(d.trader.books.signals) == 3
        assert [e["n"] for e in journal_of(d.trader.settings)] == list(range(d.journal._next))


def test_an_outage_of_the_history_alone_is_said_once_and_its_end_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise OSError(28, "No space left on device")

    wanted = {("AAA", at(DAYS[0], "10:05")): 0.9, ("BBB", at(DAYS[0], "10:30")): 0.9}
    with desk(tmp_path, market(), wanted, each_minute_on_disk=True) as d:
        d.run(DAYS[0], until=at(DAYS[0], "10:00"))
        with monkeypatch.context() as patch:
            patch.setattr(d.trader.predictor, "at_minute", refuses)
            d.run(DAYS[0], after=at(DAYS[0], "10:00"), until=at(DAYS[0], "10:15"))
        d.run(DAYS[0], after=at(DAYS[0], "10:15"))
        assert [("until the disk" in line, "takes the books again" in line) for line in d.said if "disk" in line] == [
            (True, False),
            (False, True),
        ]
        assert [t.symbol for t in d.trades()] == ["BBB"]


def full(handle: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_clock_that_was_set_back_trades_on_and_buys_nothing_twice(tmp_path: Path) -> None:
    always = {("AAA", None): 0.9}
    with desk(tmp_path, market(), always) as d:  # type: ignore[arg-type]
        d.run(DAYS[0], until=at(DAYS[0], "12:00"))
        d.run(DAYS[0], after=at(DAYS[0], "10:00"))
        assert [(t.symbol, t.status) for t in d.trades()] == [("AAA", "OPEN")]


def test_after_minutes_without_one_books_and_broker_are_compared_before_anything_is_bought(tmp_path: Path) -> None:
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "11:33")): 0.9}) as d:
        d.run(DAYS[0], until=at(DAYS[0], "10:31"))
        asked = []
        d.trader.agreement.try_to_reach = lambda now, seen: asked.append(now)  # type: ignore[method-assign]
        d.run(DAYS[0], after=at(DAYS[0], "11:32"), until=at(DAYS[0], "11:34"))
        assert asked == [at(DAYS[0], "11:33")]
