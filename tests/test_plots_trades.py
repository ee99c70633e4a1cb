"""A trade on candles, and the account beside others: the markup is read back, with its own axis as the scale."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from datetime import date
from itertools import combinations, pairwise, product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reporting import Page

from display.plots import apart, curve, drawdown
from display.plots_trades import CANDLE_MINUTES, HEIGHT, LETTER, STYLE, WIDTH, trade_chart, trade_charts
from market.hours import Session, sessions_between

SESSIONS = sessions_between(date(2026, 3, 2), date(2026, 4, 30))
NEW_YORK = "America/New_York"


def walk(sessions: list[Session], price: float = 100.0, step: float = 0.0008, symbol: str = "AAA") -> pd.DataFrame:
    """Every minute of these sessions, a random walk with wicks."""
    time = np.concatenate([pd.date_range(s.open, s.close, freq="min", inclusive="left") for s in sessions])
    rng = np.random.default_rng(len(time))
    closes = price * np.exp(np.cumsum(rng.normal(0, step, len(time))))
    opens = np.append(price, closes[:-1])
    wick = np.exp(np.abs(rng.normal(0, step / 2, (2, len(time)))))
    return pd.DataFrame(
        {
            "symbol": symbol,
            "timestamp": pd.DatetimeIndex(time).as_unit("us"),
            "open": opens,
            "high": np.maximum(opens, closes) * wick[0],
            "low": np.minimum(opens, closes) / wick[1],
            "close": closes,
            "volume": 100.0,
        }
    )


@dataclass
class Trade:
    """As report.trades gives a row."""

    symbol: str
    entry_time: pd.Timestamp
    price: float
    stop_loss: float
    take_profit: float
    exit_time: Any = pd.NaT
    exit_price: float = float("nan")
    qty: int = 5
    exit_reason: Any = None
    pnl_amount: float = float("nan")
    pnl_pct: float = float("nan")


def traded(bars: pd.DataFrame, entry: int, end: int | None = None, stop: float = 0.02, target: float = 0.04) -> Trade:
    """The trade entered and left at the opens of these rows."""
    price, time = bars["open"].to_numpy(), bars["timestamp"].dt.tz_convert(NEW_YORK)
    paid = float(price[entry])
    trade = Trade(str(bars["symbol"].iloc[0]), time.iloc[entry], paid, paid * (1 - stop), paid * (1 + target))
    if end is not None:
        trade.exit_time, trade.exit_price, trade.exit_reason = time.iloc[end], float(price[end]), "time"
        trade.pnl_amount, trade.pnl_pct = 5 * (trade.exit_price - paid), trade.exit_price / paid - 1
    return trade


class Picture:
    """A chart as it is drawn, read back from its markup."""

    def __init__(self, html: str) -> None:
        figure = ET.fromstring(html)  # noqa: S314, our own markup
        self.figure = figure
        self.svg = figure.find("svg")
        assert self.svg is not None
        self.caption = "".join(figure.find("figcaption").itertext())  # type: ignore[union-attr]
        self.title, self.desc = (self.svg.findtext(tag) or "" for tag in ("title", "desc"))
        self.texts = [(int(t.attrib["x"]), int(t.attrib["y"]), t.text or "") for t in self.svg.iter("text")]
        self.paths = {path.attrib["class"]: path.attrib["d"] for path in self.svg.iter("path")}
        prices = [(y - 8, float(text.replace(",", ""))) for x, y, text in self.texts if x == 0 and "." <= text < ":"]
        self.prices = [each for each in prices if each[0] < 430]
        self.times = [text for _, y, text in self.texts if y > 430]
        (y0, p0), (y1, p1) = self.prices[0], self.prices[-1]
        self.per_pixel = abs((p1 - p0) / (y1 - y0))
        self._anchor = y0, p0

    def price(self, y: float) -> float:
        return self._anchor[1] - (y - self._anchor[0]) * self.per_pixel

    def candles(self) -> list[tuple[int, float, float, float, float, str]]:
        """x, open, high, low, close, class, from left to right."""
        found = []
        for style, (start, end) in {"up": (1, 0), "down": (0, 1)}.items():
            for body in re.findall(r"M[^M]+", self.paths.get(style, "")):
                parts = re.fullmatch(r"M(\d+) (\d+)(?:v(\d+))?m-(\d+) 0h\d+v(\d+)h-\d+z(?:m(\d+) (\d+)v(\d+))?", body)
                assert parts, body
                x, top = int(parts[1]), int(parts[2])
                upper = top + int(parts[3] or 0)
                lower = upper + int(parts[5])
                assert not parts[7] or (parts[7] == parts[5] and parts[6] == parts[4])
                ends = [self.price(upper), self.price(lower)]
                bottom = self.price(lower + int(parts[8] or 0))
                found.append((x, ends[start], self.price(top), bottom, ends[end], style))
        return sorted(found)

    def triangles(self) -> list[tuple[int, float, str]]:
        """x, price at the tip, and whether it points up (from below the price) or down."""
        found = re.findall(r"M(\d+) (\d+)l(\d+) ?(-?\d+)h-(\d+)z", self.paths["mark"])
        assert all(int(width) == 2 * int(half) for *_, half, _, width in found)
        return [(int(x), self.price(int(y)), "down" if int(rise) < 0 else "up") for x, y, _, rise, _ in found]

    def lines(self, name: str) -> list[tuple[int, int, int]]:
        """x, y, end of the horizontal lines of a path."""
        return [tuple(map(int, each)) for each in re.findall(r"M(\d+) (\d+)H(\d+)", self.paths.get(name, ""))]  # type: ignore[misc]

    def label(self, name: str) -> tuple[int, int, str]:
        (found,) = [each for each in self.texts if each[2].startswith(name)]
        return found

    def boxes(self) -> list[tuple[float, float, float, float, str]]:
        """Left, top, right, bottom of every text, 23 units high."""
        return [(x, y - 18, x + LETTER * len(text), y + 5, text) for x, y, text in self.texts]


def picture(trade: Any, bars: pd.DataFrame) -> Picture:
    return Picture(trade_chart(trade, bars))


def by_hand(bars: pd.DataFrame, minutes: int) -> list[tuple[float, float, float, float]]:
    """Bars put together one by one: open, high, low, close."""
    groups: dict[tuple[date, int], list[Any]] = {}
    for bar in bars.itertuples():
        local = bar.timestamp.tz_convert(NEW_YORK)
        groups.setdefault((local.date(), (local.hour * 60 + local.minute - 570) // minutes), []).append(bar)
    return [(g[0].open, max(b.high for b in g), min(b.low for b in g), g[-1].close) for g in groups.values()]


# --- candles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("held", "minutes"), [(20, 1), (60, 2), (200, 5), (420, 10), (450, 15)])
def test_candles_are_the_bars_around_the_trade_put_together(held: int, minutes: int) -> None:
    bars = walk(SESSIONS[:4])
    drawn = picture(traded(bars, 500, 500 + held), bars)
    margin = max(10, (held + 1) // 6)
    expected = by_hand(bars.iloc[500 - margin : 500 + held + 1 + margin], minutes)
    assert f"{minutes}-min candles" in drawn.caption
    assert len(expected) == len(drawn.candles()) <= 60
    for (_, *prices, style), (open_, *rest, close) in zip(drawn.candles(), expected, strict=True):
        assert prices == pytest.approx([open_, *rest, close], abs=drawn.per_pixel * 1.5)
        assert style == ("up" if close >= open_ else "down")


@pytest.mark.parametrize("held", [1, 5, 100, 389, 1000, 3000, 7000, 15_000])
def test_there_are_at_most_sixty_candles_of_a_round_number_of_minutes(held: int) -> None:
    bars = walk(SESSIONS, step=0.0003)
    drawn = picture(traded(bars, 50, 50 + held), bars)
    size = re.search(r"(\d+)-min candles|daily candles", drawn.caption)
    assert size is not None
    assert int(size[1] or 390) in CANDLE_MINUTES
    assert 5 <= len(drawn.candles()) <= 60


def test_rising_and_falling_are_told_apart_by_shape() -> None:
    assert re.search(r"\.trade path \{ fill: none", STYLE)
    assert re.search(r"\.down \{ fill: var", STYLE)
    assert not re.search(r"\.up \{[^}]*fill", STYLE)


def test_sessions_stand_side_by_side_with_a_line_where_a_day_begins() -> None:
    bars = walk(SESSIONS[:3])
    drawn = picture(traded(bars, 300, 500), bars)
    places = [x for x, *_ in drawn.candles()]
    (step,) = {b - a for a, b in pairwise(places)}
    (line,) = re.findall(r"M(\d+) \d+V", drawn.paths["grid"])
    first_of_day = len(by_hand(bars.iloc[300 - 33 : 390], 5))
    assert places[first_of_day - 1] < int(line) < places[first_of_day]
    assert "Mar 03" in drawn.times
    assert step > 1


def test_daily_candles_have_no_line_for_each_day() -> None:
    bars = walk(SESSIONS, step=0.0003)
    drawn = picture(traded(bars, 50, 15_000), bars)
    assert "daily candles" in drawn.caption
    assert "V" not in drawn.paths["grid"]
    assert all(re.fullmatch(r"[A-Z][a-z]{2} \d\d", label) for label in drawn.times)


def test_minutes_without_a_bar_shift_nothing() -> None:
    bars = walk(SESSIONS[:1]).drop(index=range(120, 127)).reset_index(drop=True)
    drawn = picture(traded(bars, 100, 150), bars)
    triangle, places = drawn.triangles()[1], [x for x, *_ in drawn.candles()]
    assert "1-min candles" not in drawn.caption
    entry_open = bars["open"].iloc[150]
    assert triangle[:2] == (places[len(by_hand(bars.iloc[90:151], 2)) - 1], pytest.approx(entry_open, abs=0.05))


# --- the trade -------------------------------------------------------------------------------------------------------


def test_entry_and_exit_point_at_their_price_in_their_minute() -> None:
    bars = walk(SESSIONS[:1])
    trade = traded(bars, 100, 120)
    drawn = picture(trade, bars)
    places = [x for x, *_ in drawn.candles()]
    entry, end = drawn.triangles()
    assert entry == (places[10], pytest.approx(trade.price, abs=drawn.per_pixel), "up")
    assert end == (places[30], pytest.approx(trade.exit_price, abs=drawn.per_pixel), "down")
    assert drawn.label("entry")[2] == f"entry {trade.price:.2f}"
    assert drawn.label("exit")[2] == f"exit {trade.exit_price:.2f}"


def test_stop_and_target_are_lines_from_entry_to_exit_with_their_prices() -> None:
    bars = walk(SESSIONS[:1])
    trade = traded(bars, 100, 120, stop=0.004, target=0.005)
    drawn = picture(trade, bars)
    places = [x for x, *_ in drawn.candles()]
    stop, target = drawn.lines("level")
    assert (stop[0], stop[2]) == (target[0], target[2]) == (places[10], places[30])
    assert drawn.price(stop[1]) == pytest.approx(trade.stop_loss, abs=drawn.per_pixel)
    assert drawn.price(target[1]) == pytest.approx(trade.take_profit, abs=drawn.per_pixel)
    assert drawn.label("stop")[2] == f"stop {trade.stop_loss:.2f}"
    assert drawn.label("target")[2] == f"target {trade.take_profit:.2f}"


def test_a_level_that_would_flatten_the_candles_is_named_with_its_direction_and_not_drawn() -> None:
    bars = walk(SESSIONS[:1], step=0.0001)
    trade = traded(bars, 100, 120, stop=0.002, target=0.02)
    drawn = picture(trade, bars)
    assert len(drawn.lines("level")) == 1
    assert drawn.label("target")[2] == f"target {trade.take_profit:.2f} ↑"
    both = picture(traded(bars, 100, 120, stop=0.02, target=0.03), bars)
    assert "level" not in both.paths
    assert both.label("stop")[2].endswith("↓")
    highest, lowest = max(c[2] for c in both.candles()), min(c[3] for c in both.candles())
    assert (highest - lowest) / both.per_pixel > 300  # of the 406 that there are


def test_an_open_trade_ends_at_the_last_bar_and_has_no_exit() -> None:
    bars = walk(SESSIONS[:1]).head(200)
    drawn = picture(traded(bars, 150, stop=0.004, target=0.005), bars)
    assert len(drawn.triangles()) == 1
    assert drawn.label("last")[2] == f"last {bars['close'].iloc[-1]:.2f}"
    assert {end for *_, end in drawn.lines("level")} == {drawn.candles()[-1][0]}
    assert "still open" in drawn.caption
    assert "still open" in drawn.desc
    assert "nan" not in f"{drawn.caption}{drawn.desc}{drawn.texts}".lower()


def test_what_was_bought_and_sold_within_a_minute_is_drawn_too() -> None:
    bars = walk(SESSIONS[:1])
    drawn = picture(traded(bars, 5, 5, stop=0.004, target=0.005), bars)
    assert drawn.triangles()[0][:1] == drawn.triangles()[1][:1]
    assert all(end > start for start, _, end in drawn.lines("level"))


def test_prices_that_never_moved_are_drawn_too() -> None:
    bars = walk(SESSIONS[:1], step=0.0)
    drawn = picture(traded(bars, 100, 120), bars)
    assert {style for *_, style in drawn.candles()} == {"up"}
    assert drawn.triangles()[0][1] == pytest.approx(100.0, abs=0.01)


def test_prices_below_a_dollar_keep_their_digits() -> None:
    bars = walk(SESSIONS[:1], price=0.1234)
    assert picture(traded(bars, 100, 120), bars).label("entry")[2] == f"entry {bars['open'].iloc[100]:.4f}"


# --- what cannot be drawn --------------------------------------------------------------------------------------------


def test_missing_bars_are_named_instead_of_a_chart() -> None:
    bars = walk(SESSIONS[:3])
    trade = traded(bars, 300, 500)
    for day, gone in (("2026-03-02", 0), ("2026-03-03", 1)):
        rest = bars[bars["timestamp"].dt.date != SESSIONS[gone].day]
        words = trade_chart(trade, rest)
        assert words == f"<p>AAA, bought 2026-03-02 14:30: no chart, its bars of {day} are not stored.</p>\n"
    assert "its bars of 2026-03-02 are not stored" in trade_chart(trade, bars.head(0))
    assert "its bars of 2026-03-04 are not stored" in trade_chart(traded(bars, 800), bars.head(780))


def test_bars_that_follow_a_split_are_not_drawn_with_prices_from_before_it() -> None:
    bars = walk(SESSIONS[:1])
    trade = traded(bars, 100, 120)
    for factor in (0.25, 4.0):
        split = bars.assign(**{name: bars[name] * factor for name in ("open", "high", "low", "close")})
        words = trade_chart(trade, split)
        assert f"bought at {trade.price:.2f} USD, far from its bars (a split since?)" in words
        assert "<svg" not in words


def test_charts_come_in_the_order_of_the_trades() -> None:
    bars = pd.concat([walk(SESSIONS[:1], symbol=symbol) for symbol in "ABC"], ignore_index=True)
    each = {symbol: bars[bars["symbol"] == symbol] for symbol in "ABC"}
    trades = [traded(each["B"], 10, 50), traded(each["A"], 30), Trade("X", SESSIONS[0].open, 1.0, 0.9, 1.1)]
    trades[2].entry_time = trades[0].entry_time
    table = pd.DataFrame([vars(trade) for trade in [*trades, trades[0]]])
    charts = list(trade_charts(table, bars))
    assert [re.sub("<.*?>", "", chart)[:1] for chart in charts] == ["B", "A", "X", "B"]
    assert charts[0] == charts[3] == trade_chart(trades[0], each["B"])
    assert "<svg" not in charts[2]


# --- for everybody's eyes --------------------------------------------------------------------------------------------


def test_a_chart_says_the_trade_in_words_and_has_no_id() -> None:
    bars = walk(SESSIONS[:1])
    trade = traded(bars, 100, 120)
    drawn = picture(trade, bars)
    assert drawn.svg is not None
    assert drawn.svg.attrib["role"] == "img"
    assert drawn.title == "AAA, New York time"
    between = bars.iloc[100:121]
    assert drawn.desc == (
        f"5 shares bought at {trade.price:.2f}, sold at {trade.exit_price:.2f} (time), {trade.pnl_amount:+.2f} USD. "
        f"Stop {trade.stop_loss:.2f}, target {trade.take_profit:.2f}; "
        f"while held between {between['low'].min():.2f} and {between['high'].max():.2f} USD."
    )
    assert drawn.caption.endswith("2026-03-02 11:10 to 11:30, 1-min candles")
    assert not [element for element in drawn.figure.iter() if "id" in element.attrib]


def test_a_hostile_symbol_and_reason_are_text() -> None:
    bars = walk(SESSIONS[:1], symbol="<b>&")
    trade = traded(bars, 100, 120)
    trade.exit_reason = '<script>"'
    drawn = picture(trade, bars)
    assert drawn.title.startswith("<b>&")
    assert '<script>"' in drawn.caption
    assert '<script>"' in drawn.desc
    assert "<b>" in trade_chart(trade, bars.head(0)).replace("&lt;", "<").replace("&gt;", ">")
    assert "<script" not in trade_chart(trade, bars)


@given(
    st.sampled_from([0.37, 5.0, 99.9, 430.0, 5123.0]), st.sampled_from([0.0, 0.00005, 0.0005, 0.003]),
    st.integers(0, 2000), st.integers(0, 3000), st.booleans(), st.sampled_from([0.0005, 0.003, 0.02, 0.3]),
    st.sampled_from([0.0005, 0.004, 0.04, 0.5]),
)  # fmt: skip
@settings(max_examples=120)
def test_no_two_labels_overlap_and_none_leaves_the_picture(
    price: float, step: float, entry: int, held: int, closed: bool, stop: float, target: float
) -> None:
    bars = walk(SESSIONS[:14], price, step)
    drawn = picture(traded(bars, entry, entry + held if closed else None, stop, target), bars)
    boxes = drawn.boxes()
    for a, b in combinations(boxes, 2):
        apart_ = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart_, (a, b)
    for left, top, right, bottom, text in boxes:
        assert (left >= 0, top >= -5, right <= WIDTH, bottom <= HEIGHT) == (True,) * 4, text
    assert 3 <= len(drawn.prices) <= 4
    assert len(drawn.times) <= 5


def test_times_are_those_of_the_candles_above_them() -> None:
    bars = walk(SESSIONS[:1])
    drawn = picture(traded(bars, 100, 300), bars)
    places = {x: i for i, (x, *_) in enumerate(drawn.candles())}
    start = bars["timestamp"].iloc[100 - 33].tz_convert(NEW_YORK).floor("5min")
    labels = [(x + LETTER * len(text) // 2, text) for x, y, text in drawn.texts if y > 430]
    assert len(labels) >= 3
    for x, text in labels:
        assert text == f"{start + pd.Timedelta(minutes=5 * places[x]):%H:%M}"


def test_a_candle_whose_first_minutes_are_not_shown_has_its_own_time_all_the_same() -> None:
    bars = walk(SESSIONS[:1])
    drawn = picture(traded(bars, 94, 294), bars)  # the first bar is that of 10:31
    assert drawn.times[0] == "10:30"


def test_a_page_of_five_hundred_trades_stays_small(real_bars: pd.DataFrame) -> None:
    rows = np.arange(0, len(real_bars) - 500, 1200)
    charts = []
    for row in rows.tolist():
        own = real_bars[real_bars["symbol"] == real_bars["symbol"].iloc[row]].reset_index(drop=True)
        at = row % 12_090
        charts.append(trade_chart(traded(own, at, min(at + 60 + at % 330, len(own) - 1)), own))
    sizes = [len(chart.encode()) for chart in charts]
    assert max(sizes) < 4096
    assert np.mean(sizes) * 500 < 2_000_000


# --- the account beside others ---------------------------------------------------------------------------------------


def account(usd: list[float], sessions: int = 2) -> pd.DataFrame:
    """Equity minute by minute, evenly over the opens of sessions."""
    each = np.array_split(np.array(usd), sessions)
    time = [pd.date_range(s.open, periods=len(part), freq="min") for s, part in zip(SESSIONS, each, strict=False)]
    whole = (
        pd.DatetimeIndex(np.concatenate(time)).tz_localize("UTC") if time[0].tz is None else time[0].append(time[1:])
    )
    return pd.DataFrame({"time": whole.tz_convert(NEW_YORK).as_unit("us"), "equity": np.concatenate(each)})


def points(html: str) -> dict[str, list[tuple[float, float]]]:
    """The points of each line and area by class."""
    found = re.findall(r'<poly(?:line|gon) class="([^"]+)"[^>]*points="([^"]+)"', html)
    return {name: [tuple(map(float, xy.split(","))) for xy in text.split()] for name, text in found}  # type: ignore[misc]


def scale(html: str, height: float) -> tuple[float, float]:
    """USD at the top and at the bottom of a plot, from its outermost labels."""
    labels = re.findall(r'<text x="0" y="([\d.]+)">([-\d.,]+)%?</text>', html)
    by_place = sorted((float(y) + 4 - 24, float(text.replace(",", ""))) for y, text in labels)
    (top, high), (bottom, low) = by_place[0], by_place[-1]
    assert (top, bottom) == (0, height)
    return high, low


def ends(html: str) -> list[tuple[float, str]]:
    """y and words of the labels right of the plot."""
    found = re.findall(r'<text(?: class="own")? x="80%" dx="6" y="([\d.]+)">(.*?)</text>', html)
    return [(float(y), re.sub("<.*?>", "", words)) for y, words in found]


def market(*earned: float) -> pd.DataFrame:
    equity = account([0.0] * 20)
    at = equity["time"].iloc[[0, 9, 10, 19][: len(earned)]].dt.tz_convert("UTC")
    return pd.DataFrame({"time": at.to_numpy(), "earned": earned}).assign(time=at.to_numpy("datetime64[us]"))


def random(low: list[float], median: list[float], high: list[float]) -> pd.DataFrame:
    time = [session.close for session in SESSIONS[: len(low)]]
    return pd.DataFrame({"time": pd.to_datetime(time, utc=True), "low": low, "median": median, "high": high})


def test_all_series_share_one_scale_and_start_at_the_account_s_first_equity() -> None:
    equity = account([1000.0 + i for i in range(20)])
    html = curve(equity, market(0.0, 0.01, 0.02, -0.05), random([-30.0, -60.0], [1.0, 5.0], [40.0, 90.0]))
    high, low = scale(html, 220)
    drawn = {name: [(x, high - y / 1000 * (high - low)) for x, y in xy] for name, xy in points(html).items()}
    assert drawn["curve"][0] == (0, pytest.approx(1000, abs=0.1))
    assert drawn["curve"][-1] == (1000, pytest.approx(1019, abs=0.1))
    usd = [y for _, y in drawn["curve market"]]
    assert usd == pytest.approx([1000, 1010, 1020, 950], abs=0.1)
    assert [x for x, _ in drawn["curve market"]] == pytest.approx([0, 9 / 19 * 1000, 10 / 19 * 1000, 1000], abs=0.1)
    first_close = 10 / 19 * 1000  # a night has no width: the next minute after the close is the next open
    assert drawn["curve random"] == [
        (x, pytest.approx(y, abs=0.1))
        for x, y in ((0, 1000), (pytest.approx(first_close, abs=0.1), 1001), (1000, 1005))
    ]
    assert [y for _, y in drawn["band"]] == pytest.approx([1000, 970, 940, 1090, 1040, 1000], abs=0.1)


def test_the_market_is_as_much_money_as_was_invested() -> None:
    equity = account([1000.0 + i for i in range(20)])
    html = curve(equity, market(0.0, 0.01, 0.02, -0.05), invested=100.0)
    assert (pytest.approx(0, abs=300), "market 995") in [(0, words) for _, words in ends(html)]
    assert "market, 100 USD held in it from the first open" in Page(html).text
    assert "The market would have ended at 995.00 USD." in Page(html).text


def test_the_ends_are_labelled_apart_in_the_order_of_the_lines() -> None:
    equity = account([1000.0 + i for i in range(20)])
    html = curve(
        equity, market(0.0, 0.0, 0.0, 0.0191), random([-900.0] * 2, [19.2] * 2, [900.0] * 2), market_name="SPY"
    )
    labels = sorted(ends(html))
    assert [words.split()[0] for _, words in labels] == ["random", "SPY", "account"]
    assert all(b - a >= 14.9 for (a, _), (b, _) in pairwise(labels))


def test_without_others_there_is_neither_band_nor_legend() -> None:
    html = curve(account([1000.0 + i for i in range(20)]))
    assert list(points(html)) == ["curve"]
    assert "legend" not in html
    assert [words for _, words in ends(html)] == ["account 1,019"]
    empty = market(0.0).head(0), random([], [], [])
    assert curve(account([1000.0 + i for i in range(20)]), *empty) == html


def test_the_legend_names_each_line_and_what_it_stands_for() -> None:
    equity = account([1000.0 + i for i in range(20)])
    text = Page(curve(equity, market(0.0, 0.1), random([-30.0], [1.0], [40.0]))).text
    for words in ("account,", "market, 1,000 USD held", "nine of ten", "Nine of ten random accounts would have ended"):
        assert words in text
    assert "between 970.00 and 1,040.00 USD" in text


def test_a_running_session_ends_the_band_at_the_account_s_last_minute() -> None:
    html = curve(account([1000.0 + i for i in range(20)]), random=random([-3.0] * 2, [1.0] * 2, [4.0] * 2))
    assert max(x for x, _ in points(html)["band"]) == 1000


def test_the_drawdown_is_how_far_equity_stands_below_its_highest_so_far() -> None:
    rng = np.random.default_rng(1)
    usd = (1000 * np.exp(np.cumsum(rng.normal(0, 0.01, 200)))).tolist()
    html = drawdown(account(usd))
    high, low = scale(html, 110)
    got = [high - y / 1000 * (high - low) for _, y in points(html)["curve"]]
    expected = [100 * (value / max(usd[: i + 1]) - 1) for i, value in enumerate(usd)]
    assert got == pytest.approx(expected, abs=0.01)
    area = points(html)["band"]
    assert [y for _, y in (area[0], area[-1])] == [0, 0]  # closed along the top, which is no loss
    assert f"Deepest {min(expected):.2f}% at 2026-03-0" in Page(html).text
    assert [words for _, words in ends(html)] == [f"now {expected[-1]:.2f}%"]


@pytest.mark.parametrize(
    ("usd", "words"),
    [([], "too few"), ([1.0], "too few"), ([1.0, 2.0, 3.0], "no drawdown"), ([1e5, 1e5 - 1, 1e5], "no drawdown")],
)
def test_where_nothing_was_lost_a_sentence_says_so(usd: list[float], words: str) -> None:
    html = drawdown(account(usd, 1))
    assert words in html
    assert "<svg" not in html


def test_both_pictures_may_stand_on_one_page() -> None:
    equity = account([1000.0, 1010.0, 990.0, 1020.0])
    page = Page(curve(equity) + drawdown(equity))
    assert len(page.ids) == len(set(page.ids)) == 4


# --- labels ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-5, 25), min_size=1, max_size=4), st.integers(1, 6))
def test_labels_are_pushed_apart_as_little_as_can_be(wanted: list[int], gap: int) -> None:
    places = apart(wanted, gap, 0, 20)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    assert all(places[b] - places[a] >= gap - 1e-9 for a, b in pairwise(order))
    assert all(-1e-9 <= place <= 20 + 1e-9 for place in places)
    cost = sum((place - want) ** 2 for place, want in zip(places, wanted, strict=True))
    for whole in product(range(21), repeat=min(len(wanted), 3)):
        tried = [*whole, *places[3:]]
        if all(tried[b] - tried[a] >= gap for a, b in pairwise(order)):
            assert cost <= sum((place - want) ** 2 for place, want in zip(tried, wanted, strict=True)) + 1e-9


def test_labels_that_have_room_stay_where_they_are() -> None:
    assert apart([30.0, 5.0, 17.0], 10, 0, 100) == [30.0, 5.0, 17.0]
    assert apart([50.0, 50.0], 10, 0, 100) == [45.0, 55.0]
    assert apart([], 10, 0, 100) == []
