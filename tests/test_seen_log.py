"""The log of what was seen live: whole records from any number of processes, and never misread."""

from __future__ import annotations

import fcntl
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from learning.features import FEATURES
from learning.prediction_log import PredictionLog
from learning.seen_log import SeenLog

DAY, NEXT = date(2026, 3, 2), date(2026, 3, 3)
MINUTE = 29_540_791
COLUMNS = ["symbol", "minute", "bars_today", "open", "high", "low", "close", "volume", *FEATURES, "confidence"]
RECORD_BYTES = 12 + 8 + 4 + 5 * 8 + 4 * len(FEATURES) + 4


def add(log: SeenLog, minute: int, *symbols: str, day: date = DAY, salt: float = 0.0) -> None:
    """Predictions whose every number tells symbol, minute and column."""
    n = len(symbols)
    row = np.arange(n)[:, np.newaxis] + minute % 1000 + salt
    log.add(
        day,
        minute,
        symbols,
        np.arange(n) + 5,
        row + np.arange(5) / 8 + 0.1,
        row + np.arange(len(FEATURES)) / 64,
        np.full(n, 0.25 + salt / 16),
    )


def written(folder: Path, *minutes: int) -> Path:
    """The file of a day with NVDA and SPY in these minutes."""
    log = SeenLog(folder)
    for minute in minutes:
        add(log, minute, "NVDA", "SPY")
    log.write()
    return folder / "2026-03-02.seen"


def read(folder: Path, day: date = DAY) -> pd.DataFrame:
    table = SeenLog(folder).read(day)
    assert table is not None
    return table


def minutes(folder: Path) -> list[int]:
    return read(folder)["minute"].tolist()


# --- round trip -----------------------------------------------------------------------------------------------------


def test_what_was_seen_comes_back_in_another_log(tmp_path: Path) -> None:
    log = SeenLog(tmp_path / "predictions")
    values = np.arange(len(FEATURES)) - 0.1
    bar = [187.2, 187.66, 187.02, 187.55, 812_345.5]
    log.add(DAY, MINUTE, ["BRK.B"], [31], np.array([bar]), values[np.newaxis], np.array([0.1]))
    log.write()
    table = read(tmp_path / "predictions")
    assert list(table.columns) == COLUMNS
    assert table.iloc[0, :8].tolist() == ["BRK.B", MINUTE, 31, *bar]
    assert table[FEATURES].to_numpy().tolist() == [values.astype(np.float32).tolist()]
    assert table["confidence"].tolist() == [float(np.float32(0.1))]
    assert table["minute"].dtype == np.int64
    assert (table[["open", "high", "low", "close", "volume"]].dtypes == np.float64).all()


def test_minutes_follow_one_another_and_symbols_keep_their_numbers(tmp_path: Path) -> None:
    log = SeenLog(tmp_path)
    add(log, MINUTE, "NVDA", "SPY")
    log.write()
    add(log, MINUTE + 1, "SPY")
    add(log, MINUTE + 2, "TRUE", "NA", "TWELVE.BYTES")
    log.write()
    table = read(tmp_path)
    assert table["symbol"].tolist() == ["NVDA", "SPY", "SPY", "TRUE", "NA", "TWELVE.BYTES"]
    assert table["minute"].tolist() == [MINUTE] * 2 + [MINUTE + 1] + [MINUTE + 2] * 3
    assert table["bars_today"].tolist() == [5, 6, 5, 5, 6, 7]
    base = np.array([791, 792, 792, 793, 794, 795])
    assert table["open"].tolist() == pytest.approx(base + 0.1, rel=1e-15)
    assert table["volume"].tolist() == pytest.approx(base + 0.6, rel=1e-15)
    assert table[FEATURES[-1]].tolist() == (base + (len(FEATURES) - 1) / 64).tolist()


def test_nothing_is_written_before_write_and_nothing_twice(tmp_path: Path) -> None:
    log = SeenLog(tmp_path / "predictions")
    log.write()
    log.add(DAY, MINUTE, [], [], np.empty((0, 5)), np.empty((0, len(FEATURES))), np.empty(0))
    log.write()
    assert not (tmp_path / "predictions").exists()
    add(log, MINUTE, "NVDA")
    assert log.read(DAY) is None
    log.write()
    size = (tmp_path / "predictions" / "2026-03-02.seen").stat().st_size
    log.write()
    assert (tmp_path / "predictions" / "2026-03-02.seen").stat().st_size == size


def test_each_day_has_its_file_and_days_before_can_be_dropped(tmp_path: Path) -> None:
    log = SeenLog(tmp_path)
    for day in (date(2026, 2, 27), DAY, NEXT):
        add(log, MINUTE, "NVDA", day=day, salt=float(day.day))
    log.write()
    (tmp_path / "2026-02-27.jsonl").write_text("")
    log.drop_before(DAY)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "2026-02-27.jsonl",
        "2026-03-02.seen",
        "2026-03-03.seen",
    ]
    assert read(tmp_path, NEXT)["open"].tolist() == pytest.approx([791 + 3 + 0.1])
    assert log.read(date(2026, 2, 27)) is None
    SeenLog(tmp_path / "none").drop_before(DAY)


def test_the_log_of_predictions_beside_it_is_not_disturbed(tmp_path: Path) -> None:
    written(tmp_path, MINUTE)
    predictions = PredictionLog(tmp_path)
    predictions.compress_old()
    assert list(predictions.read("NVDA")) == []
    assert predictions.of_model("any").empty
    assert minutes(tmp_path) == [MINUTE] * 2


def test_the_first_line_describes_the_records_to_whoever_opens_the_file(tmp_path: Path) -> None:
    line, _, body = written(tmp_path, MINUTE).read_bytes().partition(b"\n")
    header = json.loads(line)
    fields = [(name, kind, *map(tuple, shape)) for name, kind, *shape in header["fields"]]
    records = np.frombuffer(body, np.dtype(fields))
    assert header["features"] == FEATURES
    assert header["bar"] == ["open", "high", "low", "close", "volume"]
    assert records["symbol"].tolist() == [b"NVDA", b"SPY"]
    assert records["minute"].tolist() == [MINUTE, MINUTE]
    assert len(body) == 2 * RECORD_BYTES


def test_a_symbol_that_does_not_fit_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = SeenLog(tmp_path)
    add(log, MINUTE, "NVDA", "THIRTEEN.BYTE", "SPY")
    log.write()
    assert read(tmp_path)["symbol"].tolist() == ["NVDA", "SPY"]
    assert read(tmp_path)["bars_today"].tolist() == [5, 7]
    assert "THIRTEEN.BYTE" in caplog.text


# --- several writers ------------------------------------------------------------------------------------------------


def test_of_two_records_of_a_symbol_and_minute_the_first_counts(tmp_path: Path) -> None:
    one, other = SeenLog(tmp_path), SeenLog(tmp_path)
    add(one, MINUTE, "NVDA")
    one.write()
    add(other, MINUTE, "NVDA", "SPY", salt=0.5)
    add(other, MINUTE + 1, "NVDA", salt=0.5)
    other.write()
    table = read(tmp_path)
    assert table["symbol"].tolist() == ["NVDA", "SPY", "NVDA"]
    assert table["open"].tolist() == pytest.approx([791.1, 792.6, 792.6])
    assert table.index.tolist() == [0, 1, 2]


def test_writers_at_one_time_append_whole_records_below_one_header(tmp_path: Path) -> None:
    """Threads, each with files opened by itself: the lock cannot tell them from processes."""
    writers, days = 4, [date(2026, 3, day) for day in range(2, 22)]
    begin = threading.Barrier(writers)

    def write(writer: int) -> None:
        log, names = SeenLog(tmp_path), [f"W{writer}S{i}" for i in range(50)]
        for day in days:
            begin.wait(timeout=60)  # the first write of a day, with its header, is the contested one
            for minute in range(5):
                n, value = len(names), writer + minute / 1024
                shapes = ((n,), (n, 5), (n, len(FEATURES)), (n,))
                log.add(day, minute, names, *(np.full(shape, value) for shape in shapes))
                log.write()

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, range(writers)))
    for day in days:
        table = read(tmp_path, day)
        assert len(table) == writers * 5 * 50
        expected = table["symbol"].str[1].astype(int) + table["minute"] / 1024
        for column in ("open", "volume", FEATURES[0], FEATURES[-1], "confidence"):
            assert np.array_equal(table[column], expected)
        assert (tmp_path / f"{day}.seen").read_bytes().count(b'{"fields":') == 1


def test_a_writer_waits_for_one_that_is_not_done(tmp_path: Path) -> None:
    content = written(tmp_path / "other", MINUTE).read_bytes()
    log, half = SeenLog(tmp_path), len(content) - RECORD_BYTES // 2
    add(log, MINUTE + 1, "NVDA")
    waiting = threading.Thread(target=log.write)
    with (tmp_path / "2026-03-02.seen").open("ab", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(content[:half])
        waiting.start()
        waiting.join(timeout=0.2)
        other.write(content[half:])
    waiting.join(timeout=60)
    assert minutes(tmp_path) == [MINUTE, MINUTE, MINUTE + 1]


# --- after a crash --------------------------------------------------------------------------------------------------


def test_a_last_record_cut_at_any_byte_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, MINUTE)
    whole = path.read_bytes()
    for end in range(len(whole) - RECORD_BYTES + 1, len(whole)):
        path.write_bytes(whole[:end])
        caplog.clear()
        assert read(tmp_path)["symbol"].tolist() == ["NVDA"]
        assert "1 record" in caplog.text
    path.write_bytes(whole[:-RECORD_BYTES])
    caplog.clear()
    assert read(tmp_path)["symbol"].tolist() == ["NVDA"]
    assert caplog.text == ""


@pytest.mark.parametrize("torn", [b"NVDA", b"\x00" * 40, b"\x00" * (2 * RECORD_BYTES), b"\n" * (RECORD_BYTES - 1)])
def test_what_is_appended_behind_a_torn_record_is_read(tmp_path: Path, torn: bytes) -> None:
    path = written(tmp_path, MINUTE)
    path.write_bytes(path.read_bytes() + torn)
    written(tmp_path, MINUTE + 1)
    assert minutes(tmp_path) == [MINUTE] * 2 + [MINUTE + 1] * 2
    assert read(tmp_path)["symbol"].tolist() == ["NVDA", "SPY"] * 2


def test_a_header_cut_at_any_byte_is_written_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, MINUTE)
    header = path.read_bytes().partition(b"\n")[0]
    for end in (0, 1, len(header) // 2, len(header) - 1, len(header)):
        path.write_bytes(header[:end])
        assert SeenLog(tmp_path).read(DAY) is None
        written(tmp_path, MINUTE + 1)
        assert minutes(tmp_path) == [MINUTE + 1] * 2


def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    folder = tmp_path / "predictions"
    folder.write_text("a file where the folder should be")
    log = SeenLog(folder)
    add(log, MINUTE, "NVDA")
    with pytest.raises(FileExistsError):
        log.write()
    folder.unlink()
    log.write()
    assert minutes(folder) == [MINUTE]


# --- written by another version -------------------------------------------------------------------------------------


def renamed(path: Path) -> None:
    """As if a version with another feature of that length had written it."""
    path.write_bytes(path.read_bytes().replace(b'"rsi_14"', b'"cci_14"'))


def widened(path: Path) -> None:
    """As if a version that kept prices in half the precision had written it."""
    path.write_bytes(path.read_bytes().replace(b'"<f8"', b'"<f4"'))


def garbled(path: Path) -> None:
    path.write_bytes(b"\xff\x00 no header\n" + path.read_bytes())


@pytest.mark.parametrize(
    ("spoil", "why"),
    [(renamed, "other features (cci_14, rsi_14)"), (widened, "another form"), (garbled, "header cannot be read")],
)
def test_a_foreign_file_is_not_misread_and_is_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: object, why: str
) -> None:
    path = written(tmp_path, MINUTE)
    assert callable(spoil)
    spoil(path)
    with caplog.at_level(logging.WARNING):
        assert SeenLog(tmp_path).read(DAY) is None
    assert why in caplog.text
    assert path.name in caplog.text
    caplog.clear()
    written(tmp_path, MINUTE + 1)
    assert why in caplog.text
    assert minutes(tmp_path) == [MINUTE + 1] * 2


@pytest.mark.parametrize("line", [b"", b"[]", b"7", b'{"features":7}', b'{"features":[1,"a"]}', b'{"fields":[]}'])
def test_any_first_line_is_refused_with_a_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture, line: bytes) -> None:
    (tmp_path / "2026-03-02.seen").write_bytes(line + b"\n" + b"x" * 1000)
    assert SeenLog(tmp_path).read(DAY) is None
    assert "cannot be" in caplog.text
