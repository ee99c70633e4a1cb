"""Reading and checking bars: every kind of bad input is a BadBars that says what, where and when, never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.bars import COLUMNS, PRICES, BadBars, Bar, as_bars, check_bars, epoch_minutes, read_bars, symbol_slices

FIRST_MINUTE = pd.Timestamp("2026-02-02T14:30:00Z")  # a Monday, 9:30 in New York
CLOSE = pd.Timestamp("2026-02-02T21:00:00Z")
Mutation = Callable[[pd.DataFrame], pd.DataFrame]


def good_bars(symbols: tuple[str, ...] = ("AAPL", "MSFT"), minutes: int = 4) -> pd.DataFrame:
    """A small table that breaks no rule; no two prices are equal."""
    n = np.arange(len(symbols) * minutes, dtype=float)
    return pd.DataFrame(
        {
            "symbol": np.repeat(symbols, minutes),
            "timestamp": pd.date_range(FIRST_MINUTE, periods=minutes, freq="min").append(
                [pd.date_range(FIRST_MINUTE, periods=minutes, freq="min")] * (len(symbols) - 1)
            ),
            "open": 100.1 + n,
            "high": 100.7 + n,
            "low": 99.9 + n,
            "close": 100.3 + n,
            "volume": 1000.0 + n,
        }
    )


def with_value(column: str, value: object, row: int = 5) -> pd.DataFrame:
    """Good bars with one value replaced, by default in MSFT's second minute."""
    frame = good_bars()
    values = frame[column].tolist()
    values[row] = value
    return frame.assign(**{column: pd.Series(values)})


def assert_obeys_every_rule(frame: pd.DataFrame) -> None:
    assert list(frame.columns) == COLUMNS
    assert isinstance(frame.index, pd.RangeIndex)
    assert frame["symbol"].dtype == "str"
    assert frame["timestamp"].dtype == "datetime64[us, UTC]"
    numbers = frame[[*PRICES, "volume"]]
    assert (numbers.dtypes == np.float64).all()
    assert np.isfinite(numbers.to_numpy()).all()
    assert (numbers.to_numpy() > 0).all()
    assert (frame["high"] == frame[PRICES].max(axis=1)).all()
    assert (frame["low"] == frame[PRICES].min(axis=1)).all()
    assert (frame["timestamp"] == frame["timestamp"].dt.floor("min")).all()
    new_york = frame["timestamp"].dt.tz_convert("America/New_York").dt.strftime("%H:%M")
    assert new_york.between("09:30", "15:59").all()
    assert not frame.duplicated(["symbol", "timestamp"]).any()
    assert frame.equals(frame.sort_values(["symbol", "timestamp"], ignore_index=True))


# --- what is accepted -----------------------------------------------------------------------------------------------


def test_good_bars_come_back_with_the_same_values() -> None:
    checked = check_bars(good_bars())
    assert_obeys_every_rule(checked)
    for name in COLUMNS:
        assert checked[name].tolist() == good_bars()[name].tolist()


def test_checking_leaves_the_callers_table_alone() -> None:
    mine = good_bars().iloc[::-1].rename(columns=str.upper)
    before = mine.copy(deep=True)
    check_bars(mine)
    pd.testing.assert_frame_equal(mine, before)


def test_unsorted_bars_are_sorted_by_symbol_and_time() -> None:
    shuffled = good_bars().sample(frac=1, random_state=1)
    assert shuffled["timestamp"].tolist() != good_bars()["timestamp"].tolist()
    pd.testing.assert_frame_equal(check_bars(shuffled), check_bars(good_bars()))


def test_column_names_are_read_in_any_case_and_order() -> None:
    renamed = good_bars().rename(columns={"symbol": "Symbol", "timestamp": "TIMESTAMP", "open": " Open "})
    pd.testing.assert_frame_equal(check_bars(renamed[renamed.columns[::-1]]), check_bars(good_bars()))


@pytest.mark.parametrize("names", [["symbol", "timestamp"], ["Symbol", "Timestamp"]])
def test_the_index_that_alpaca_py_returns_is_read(names: list[str], caplog: pytest.LogCaptureFixture) -> None:
    frame = good_bars().assign(trade_count=7.0, vwap=100.2).set_index(["symbol", "timestamp"]).rename_axis(names)
    pd.testing.assert_frame_equal(check_bars(frame), check_bars(good_bars()))
    assert caplog.text == ""  # its extra columns are known


def test_an_index_of_timestamps_beside_a_symbol_column_is_read() -> None:
    pd.testing.assert_frame_equal(check_bars(good_bars().set_index("timestamp")), check_bars(good_bars()))


@pytest.mark.parametrize(
    "write",
    [
        lambda stamp: stamp.isoformat(),
        lambda stamp: stamp.strftime("%Y-%m-%dT%H:%M:%SZ"),
        lambda stamp: stamp.tz_convert("America/New_York").isoformat(),
        lambda stamp: stamp.tz_convert("Asia/Kolkata").strftime("%Y-%m-%d %H:%M:%S%z"),
    ],
    ids=["offset", "Z", "New York", "compact offset"],
)
def test_timestamps_as_iso_text_with_a_zone_are_read(write: Callable[[pd.Timestamp], str]) -> None:
    text = good_bars().assign(timestamp=lambda f: f["timestamp"].map(write))
    assert text["timestamp"].dtype == "str"
    pd.testing.assert_frame_equal(check_bars(text), check_bars(good_bars()))


@pytest.mark.parametrize("dtype", ["datetime64[ns, UTC]", "datetime64[s, America/New_York]"])
def test_timestamps_of_any_zone_and_resolution_are_read(dtype: str) -> None:
    frame = good_bars().astype({"timestamp": dtype})
    pd.testing.assert_frame_equal(check_bars(frame), check_bars(good_bars()))


def test_whole_numbers_and_numbers_as_text_become_floats() -> None:
    frame = good_bars().astype({"volume": "int64", "open": "str"})
    pd.testing.assert_frame_equal(check_bars(frame), check_bars(good_bars()))


def test_an_empty_table_with_the_right_columns_is_an_empty_bars_table() -> None:
    for empty in (good_bars().iloc[:0], pd.DataFrame(columns=COLUMNS)):
        checked = check_bars(empty)
        assert checked.empty
        assert_obeys_every_rule(checked)


# --- what is left out, and said -------------------------------------------------------------------------------------


def test_repeated_identical_rows_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    frame = pd.concat([good_bars(), good_bars().iloc[[1, 1, 6]]])
    pd.testing.assert_frame_equal(check_bars(frame, "mine"), check_bars(good_bars()))
    assert caplog.messages == ["mine: left out 3 repeated rows (AAPL, MSFT)"]


def test_columns_that_are_not_used_are_named(caplog: pytest.LogCaptureFixture) -> None:
    checked = check_bars(good_bars().assign(Bid=1.0, note="x", vwap=2.0), "mine")
    assert list(checked.columns) == COLUMNS
    assert caplog.messages == ["mine: columns not used: bid, note"]


def test_minutes_before_the_open_and_from_the_close_on_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    times = [FIRST_MINUTE - pd.Timedelta("1min"), FIRST_MINUTE, CLOSE - pd.Timedelta("1min"), CLOSE]
    checked = check_bars(good_bars(("AAPL",)).assign(timestamp=times), "mine")
    assert checked["timestamp"].tolist() == times[1:3]
    assert caplog.messages == ["mine: left out 2 rows outside the regular session (AAPL)"]


def test_after_an_early_close_and_on_a_holiday_nothing_is_kept() -> None:
    times = pd.to_datetime(
        ["2026-11-26T16:00:00Z", "2026-11-27T17:59:00Z", "2026-11-27T18:00:00Z", "2026-11-28T16:00:00Z"]
    )
    checked = check_bars(good_bars(("AAPL",)).assign(timestamp=times))
    assert checked["timestamp"].tolist() == [times[1]]


def test_minutes_without_volume_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    flat = dict.fromkeys(PRICES, 100.0) | {"volume": 0.0}
    frame = good_bars()
    frame.loc[2, list(flat)] = list(flat.values())
    assert len(check_bars(frame, "mine")) == len(frame) - 1
    assert caplog.messages == ["mine: left out 1 minutes in which nothing traded (volume 0) (AAPL)"]


def test_a_symbol_day_whose_prices_move_without_volume_is_left_out_alone(caplog: pytest.LogCaptureFixture) -> None:
    checked = check_bars(with_value("volume", 0.0), "mine")
    assert checked["symbol"].unique().tolist() == ["AAPL"]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("mine: left out 4 rows of symbol-days with broken volume")
    assert caplog.messages[0].endswith("(MSFT)")


def _counted(messages: list[str], words: str) -> int:
    lines = [message for message in messages if words in message]
    return sum(int(line.split("left out ")[1].split()[0].replace(",", "")) for line in lines)


def test_extended_hours_of_a_real_file_are_left_out_and_counted(
    shared_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = shared_data / "us_equities_1min_extended_hours.parquet"
    checked = read_bars(path)
    raw = pd.read_parquet(path)
    clock = raw["timestamp"].dt.tz_convert("America/New_York").dt.strftime("%H:%M")
    regular = clock.between("09:30", "15:59")
    assert_obeys_every_rule(checked)
    assert _counted(caplog.messages, "outside the regular session") == (~regular).sum() > 10_000
    assert _counted(caplog.messages, "nothing traded") == (regular & (raw["volume"] == 0)).sum()
    assert _counted(caplog.messages, "left out") == len(raw) - len(checked)
    assert all(str(path) in message for message in caplog.messages)


def test_symbol_days_of_a_real_file_with_broken_volume_are_left_out_and_counted(
    shared_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = shared_data / "us_equities_1min_bad_volume.parquet"
    checked = read_bars(path)
    assert _counted(caplog.messages, "left out") == len(pd.read_parquet(path)) - len(checked)
    assert _counted(caplog.messages, "broken volume") == 16 * 390
    days = checked.assign(day=checked["timestamp"].dt.strftime("%m-%d")).groupby("symbol")["day"].unique()
    assert days["ORCL"].tolist() == ["03-12", "03-13", "03-16", "03-17", "03-18", "03-19", "03-20"]
    for symbol in ("AAPL", "MSFT", "NVDA", "TSLA"):
        assert days[symbol].tolist() == ["03-12", "03-13", "03-20"]


def test_the_clean_real_file_loses_nothing(
    real_bars: pd.DataFrame, shared_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(real_bars) == 12 * 31 * 390
    assert_obeys_every_rule(real_bars)
    check_bars(real_bars)
    assert caplog.text == ""


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("open", np.nan, "a price is missing or NaN"),
        ("close", None, "a price is missing or NaN"),
        ("high", np.inf, "a price is infinite"),
        ("low", -np.inf, "a price is infinite"),
        ("low", 0.0, "a price is not positive"),
        ("open", -1.0, "a price is not positive"),
        ("high", 50.0, "high is below low"),
        ("open", 900.0, "open or close is above high"),
        ("close", 900.0, "open or close is above high"),
        ("open", 50.0, "open or close is below low"),
        ("close", 50.0, "open or close is below low"),
        ("volume", -1.0, "volume is missing, infinite or negative"),
        ("volume", np.nan, "volume is missing, infinite or negative"),
        ("volume", np.inf, "volume is missing, infinite or negative"),
        ("timestamp", FIRST_MINUTE + pd.Timedelta("61s"), "the timestamp is not the start of a minute"),
        ("timestamp", FIRST_MINUTE + pd.Timedelta("60.5s"), "the timestamp is not the start of a minute"),
        ("close", "12,5", "close is not a number"),
        ("volume", "many", "volume is not a number"),
        ("open", [1.0], "open is not a number"),
    ],
)
def test_a_broken_value_is_refused_by_source_symbol_time_and_rule(column: str, value: object, rule: str) -> None:
    with pytest.raises(BadBars) as refused:
        check_bars(with_value(column, value), "mine.csv")
    message = str(refused.value)
    assert message.startswith("mine.csv: MSFT at 2026-02-02 14:31:")
    assert f": {rule} (1 of 8 rows)" in message
    assert message.endswith("mend or remove those rows")


def test_the_first_bad_minute_is_named_and_all_bad_rows_are_counted() -> None:
    frame = good_bars()
    frame.loc[[2, 5, 7], "low"] = np.nan  # AAPL 14:32, MSFT 14:31 and 14:33
    with pytest.raises(BadBars, match=r"^bars: MSFT at 2026-02-02 14:31:00\+00:00: .* \(3 of 8 rows\)"):
        check_bars(frame.sample(frac=1, random_state=3))


def test_two_different_bars_for_one_minute_are_refused() -> None:
    frame = pd.concat([good_bars(), good_bars().iloc[[5]].assign(volume=5.0)])
    with pytest.raises(BadBars, match=r"^mine: MSFT at 2026-02-02 14:31:00\+00:00: two different bars for one minute"):
        check_bars(frame, "mine")


@pytest.mark.parametrize(
    "naive",
    [
        lambda stamps: stamps.dt.tz_localize(None),
        lambda stamps: stamps.dt.strftime("%Y-%m-%d %H:%M:%S"),
        lambda stamps: stamps.dt.strftime("%Y-%m-%dT%H:%M:%S.000"),
        lambda stamps: stamps.dt.strftime("%Y-%m-%d"),
        lambda stamps: stamps.dt.tz_localize(None).astype("object"),
    ],
    ids=["datetime64", "text", "text with fraction", "date", "object"],
)
def test_a_naive_timestamp_is_refused_with_its_cure(naive: Callable[[pd.Series], pd.Series]) -> None:
    frame = good_bars().assign(timestamp=lambda f: naive(f["timestamp"]))
    with pytest.raises(
        BadBars, match=r"^mine: timestamp 2026-02-02.* of AAPL has no time zone; write UTC or an offset"
    ):
        check_bars(frame, "mine")


def test_one_naive_timestamp_among_good_ones_is_refused() -> None:
    frame = good_bars().assign(timestamp=lambda f: f["timestamp"].map(lambda stamp: stamp.isoformat()))
    frame.loc[5, "timestamp"] = "2026-02-02T14:31:00"
    with pytest.raises(BadBars, match="timestamp 2026-02-02T14:31:00 of MSFT has no time zone"):
        check_bars(frame)


def test_text_that_is_no_time_is_refused() -> None:
    frame = good_bars().assign(timestamp=lambda f: f["timestamp"].map(lambda stamp: stamp.isoformat()))
    frame.loc[5, "timestamp"] = "2026-02-30T14:31:00+00:00"
    with pytest.raises(BadBars, match=r"'2026-02-30T14:31:00\+00:00' is not a time; write ISO 8601"):
        check_bars(frame)


@pytest.mark.parametrize("column", ["symbol", "timestamp"])
def test_a_row_without_symbol_or_timestamp_is_refused(column: str) -> None:
    frame = good_bars()
    frame.loc[5, column] = None
    with pytest.raises(BadBars, match=f"^mine: an empty {column} in 1 rows"):
        check_bars(frame, "mine")


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(column: str) -> None:
    with pytest.raises(BadBars, match=f"^mine: column {column} is missing; bars need symbol, timestamp, open"):
        check_bars(good_bars().drop(columns=column), "mine")


def test_a_table_of_something_else_is_refused() -> None:
    for frame in (pd.DataFrame(), pd.DataFrame({"a": [1]}), pd.DataFrame([[1, 2]])):
        with pytest.raises(BadBars, match="column symbol, timestamp, open, high, low, close, volume is missing"):
            check_bars(frame)


def test_a_column_that_stands_there_twice_is_refused() -> None:
    with pytest.raises(BadBars, match="column close stands there twice"):
        check_bars(good_bars().assign(Close=1.0))


@pytest.mark.parametrize("year", [1999, 2004, 2036, 2199])
def test_dates_outside_the_calendar_are_refused(year: int) -> None:
    frame = good_bars().assign(timestamp=lambda f: f["timestamp"] + pd.DateOffset(years=year - 2026))
    with pytest.raises(BadBars, match=rf"^mine: {year}-02-02 .* covers 2005-01-01 to 2035-12-31 only"):
        check_bars(frame, "mine")


# --- files ----------------------------------------------------------------------------------------------------------


def test_parquet_and_csv_give_the_same_table(tmp_path: Path, real_bars: pd.DataFrame) -> None:
    some = real_bars[real_bars["symbol"].isin(["SPY", "XLF"])].iloc[::7]
    some.to_parquet(tmp_path / "bars.parquet")
    iso = some.assign(
        timestamp=some["timestamp"].dt.tz_convert("America/New_York").map(lambda stamp: stamp.isoformat())
    )
    iso.to_csv(tmp_path / "bars.csv", index=False)
    assert "-05:00" in (tmp_path / "bars.csv").read_text().splitlines()[1]
    from_parquet, from_csv = read_bars(tmp_path / "bars.parquet"), read_bars(tmp_path / "bars.csv")
    assert_obeys_every_rule(from_csv)
    pd.testing.assert_frame_equal(from_parquet, from_csv, check_exact=True)
    pd.testing.assert_frame_equal(from_parquet, some.reset_index(drop=True), check_exact=True)


def test_alpaca_pys_own_table_saved_as_parquet_is_read(tmp_path: Path) -> None:
    good_bars().set_index(["symbol", "timestamp"]).to_parquet(tmp_path / "bars.parquet")
    pd.testing.assert_frame_equal(read_bars(tmp_path / "bars.parquet"), check_bars(good_bars()))


def test_a_file_suffix_is_read_in_any_case(tmp_path: Path) -> None:
    good_bars().to_parquet(tmp_path / "BARS.PARQUET")
    good_bars().to_csv(tmp_path / "BARS.CSV", index=False)
    for file in tmp_path.iterdir():
        pd.testing.assert_frame_equal(read_bars(str(file)), check_bars(good_bars()))


def test_a_folder_is_read_as_one_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good_bars(("MSFT",)).to_parquet(tmp_path / "a.parquet")
    good_bars(("AAPL",)).to_csv(tmp_path / "b.csv", index=False)
    (tmp_path / "a.json").write_text("{}")
    both = read_bars(tmp_path)
    assert_obeys_every_rule(both)
    assert both["symbol"].tolist() == ["AAPL"] * 4 + ["MSFT"] * 4
    assert caplog.text == ""


def test_bars_that_stand_in_two_files_of_a_folder_are_left_out_once_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good_bars().to_parquet(tmp_path / "a.parquet")
    good_bars().to_parquet(tmp_path / "b.parquet")
    pd.testing.assert_frame_equal(read_bars(tmp_path), check_bars(good_bars()))
    assert caplog.messages == [f"{tmp_path}: left out 8 repeated rows (AAPL, MSFT)"]


def test_two_files_of_a_folder_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    good_bars().to_parquet(tmp_path / "a.parquet")
    with_value("volume", 5.0).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(BadBars) as refused:
        read_bars(tmp_path)
    assert str(tmp_path) in str(refused.value)
    assert "MSFT at 2026-02-02 14:31:00+00:00: two different bars" in str(refused.value)


def test_the_bad_file_of_a_folder_is_named(tmp_path: Path) -> None:
    good_bars().to_parquet(tmp_path / "a.parquet")
    with_value("high", 1.0).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(BadBars) as refused:
        read_bars(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path / 'b.csv'}: MSFT at 2026-02-02 14:31:00+00:00: high is below low")


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadBars, match=r"nowhere\.parquet: no such file or folder; check the path"):
        read_bars(tmp_path / "nowhere.parquet")


def test_a_folder_without_bars_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(BadBars, match=r"no \.parquet or \.csv file in this folder"):
        read_bars(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("bars.parquet", b"", "the file is empty"),
        ("bars.csv", b"", "the file is empty"),
        ("bars.xlsx", b"PK\x03\x04", "neither .parquet nor .csv; convert it"),
        ("bars", b"symbol", "neither .parquet nor .csv; convert it"),
        ("bars.parquet", b"PAR1 this is not Parquet", "not readable as parquet"),
        ("bars.parquet", b"PAR1" + b"\x00" * 40 + b"PAR1", "not readable as parquet"),
        ("bars.parquet", b"symbol,timestamp,open\n", "not readable as parquet"),
        ("bars.csv", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff\xfe", "bars.csv: "),
        ("bars.csv", b"\n\n", "not readable as csv"),
        ("bars.csv", b"symbol,timestamp,open\nAAPL,2026-02-02T14:30:00Z\n", "not readable as csv"),
        ("bars.csv", b"symbol;timestamp;open;high;low;close;volume\n", "column symbol, timestamp"),
    ],
)
def test_a_file_that_holds_no_bars_is_refused_by_name(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadBars) as refused:
        read_bars(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert words in str(refused.value)


def test_a_parquet_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    good_bars().to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadBars, match="not readable as parquet"):
        read_bars(path)


def test_a_csv_with_a_header_and_no_rows_is_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "bars.csv").write_text(",".join(COLUMNS) + "\n")
    assert read_bars(tmp_path / "bars.csv").empty


def test_a_naive_time_in_a_csv_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    good_bars().assign(timestamp=lambda f: f["timestamp"].dt.tz_localize(None)).to_csv(path, index=False)
    with pytest.raises(BadBars, match="timestamp 2026-02-02 14:30:00 of AAPL has no time zone"):
        read_bars(path)


def test_text_among_the_numbers_of_a_csv_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    with_value("close", "n.a.").to_csv(path, index=False)
    with pytest.raises(BadBars, match=r"bars\.csv: MSFT at 2026-02-02 14:31:00\+00:00: close is not a number"):
        read_bars(path)


# --- any frame: bars that obey, or BadBars --------------------------------------------------------------------------

ODD_VALUES = [
    None, np.nan, np.inf, -np.inf, 0, -1, 1e-300, 1e300, "", "x", "1e3", " 7 ", "1,000", True, pd.NaT, pd.NA, b"12",
    [1], {"a": 1}, "2026-02-02T14:33:00Z", "2026-02-02 14:33", "9999-12-31T00:00:00Z", "0001-01-01T00:00:00Z", "nowZ",
    pd.Timestamp("2026-02-02T14:33"), pd.Timestamp("2026-02-02T09:33", tz="America/New_York"), pd.Timedelta("1min"),
    1_770_042_600,
]  # fmt: skip
DTYPES = [
    "object", "str", "string", "category", "float32", "int64", "Int64", "Float64", "bool", "uint8",
    "double[pyarrow]", "string[pyarrow]", "datetime64[ns]", "datetime64[s, America/New_York]", "timedelta64[ns]",
]  # fmt: skip


def _cell(column: str, row: int, value: object) -> Mutation:
    def mutate(frame: pd.DataFrame) -> pd.DataFrame:
        values = frame[column].astype("object").tolist()
        values[row % len(values)] = value
        return frame.assign(**{column: pd.Series(values, dtype="object", index=frame.index)})

    return mutate


def _dtype(column: str, dtype: str) -> Mutation:
    return lambda frame: frame.astype({column: dtype})


def _add(frame: pd.DataFrame, rows: list[int], minutes: int) -> pd.DataFrame:
    more = frame.iloc[[row % len(frame) for row in rows]]
    return pd.concat([frame, more.assign(timestamp=more["timestamp"] + pd.Timedelta(minutes=minutes))])


columns, rows = st.sampled_from(COLUMNS), st.integers(0, 7)
mutations = st.one_of(
    st.builds(_cell, columns, rows, st.sampled_from(ODD_VALUES)),
    st.builds(_cell, st.sampled_from([*PRICES, "volume"]), rows, st.floats()),
    st.builds(_dtype, columns, st.sampled_from(DTYPES)),
    columns.map(lambda name: lambda frame: frame.drop(columns=name)),
    columns.map(lambda name: lambda frame: frame.rename(columns={name: name.upper()})),
    st.sampled_from([*PRICES, "volume"]).map(lambda name: lambda frame: frame.assign(**{name.title(): 1})),
    st.tuples(st.lists(rows, min_size=1), st.sampled_from([0, 1, 60, 390, 1440, 2880, 6_000_000])).map(
        lambda pair: lambda frame: _add(frame, *pair)
    ),
    st.lists(rows).map(lambda keep: lambda frame: frame.iloc[[row % len(frame) for row in keep]]),
    st.permutations(range(7)).map(lambda order: lambda frame: frame.iloc[:, list(order)]),
    st.sampled_from([["symbol", "timestamp"], ["timestamp"], ["symbol"]]).map(
        lambda names: lambda frame: frame.set_index(names)
    ),
)


@given(st.lists(mutations, min_size=1, max_size=3))
@settings(max_examples=400)
def test_any_mutated_table_is_either_refused_or_obeys_every_rule(changes: list[Mutation]) -> None:
    frame = good_bars()
    for change in changes:
        try:
            frame = change(frame)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, NotImplementedError):
            return  # pandas itself cannot make this table
    logging.disable(logging.WARNING)
    try:
        checked = check_bars(frame, "mutated")
    except BadBars as refused:
        assert str(refused).startswith("mutated: ")  # noqa: PT017
    else:
        assert_obeys_every_rule(checked)
    finally:
        logging.disable(logging.NOTSET)


# --- small tools over a bars table ----------------------------------------------------------------------------------


def test_epoch_minutes_count_from_1970_in_utc_whatever_the_zone_and_resolution() -> None:
    stamps = good_bars()["timestamp"]
    expected = [int(stamp.timestamp()) // 60 for stamp in stamps]
    for dtype in ("datetime64[us, UTC]", "datetime64[ns, UTC]", "datetime64[s, America/New_York]"):
        assert epoch_minutes(stamps.astype(dtype)).tolist() == expected
    assert epoch_minutes(stamps).dtype == np.int64


def test_symbol_slices_cover_every_row_once_in_order() -> None:
    frame = pd.concat([good_bars(("AAPL",), 3), good_bars(("MSFT",), 1), good_bars(("NVDA",), 2)], ignore_index=True)
    assert list(symbol_slices(frame["symbol"])) == [("AAPL", slice(0, 3)), ("MSFT", slice(3, 4)), ("NVDA", slice(4, 6))]
    assert list(symbol_slices(frame["symbol"].iloc[:0])) == []


def test_as_bars_gives_the_rows_as_named_tuples() -> None:
    bars = as_bars(check_bars(good_bars()))
    assert len(bars) == 8
    minute = int(FIRST_MINUTE.timestamp()) // 60
    assert bars[0] == Bar("AAPL", minute, 100.1, 100.7, 99.9, 100.3, 1000.0)
    assert (bars[5].symbol, bars[5].minute, bars[5].volume) == ("MSFT", minute + 1, 1005.0)
