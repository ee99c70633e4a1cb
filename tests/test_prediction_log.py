"""The log of predictions: whole lines from any number of processes, readable whatever a crash cut off."""

from __future__ import annotations

import gzip
import json
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from learning.prediction_log import KEPT_PLAIN, PredictionLog

ROOT = Path(__file__).resolve().parents[1]
MODEL = "20260301_200000"
WRITER = (
    "import sys; from pathlib import Path; from learning.prediction_log import PredictionLog\n"
    "log, name = PredictionLog(Path(sys.argv[1])), sys.argv[2]\n"
    "sys.stdin.readline()\n"
    "for i in range(200):\n"
    "    for _ in range(3):\n"
    "        at = f'2026-03-02T09:31:00.{i:06}-05:00'\n"
    "        log.add(name, at, 100.0 + i, 0.5, 'm' * 200, meets=False, buy=False)\n"
    "    log.write()"
)


def at(day: date | str, time: str = "10:30:00") -> str:
    return f"{day}T{time}-05:00"


def add(log: PredictionLog, symbol: str = "NVDA", timestamp: str = at("2026-03-02"), price: float = 150.5) -> None:
    log.add(symbol, timestamp, price, 0.71, MODEL, meets=True, buy=True)


def prices(log: PredictionLog, symbol: str = "NVDA") -> list[float]:
    return [prediction["price"] for prediction in log.read(symbol)]


def written(folder: Path, prices: list[float]) -> Path:
    """The file of a day with these predictions of NVDA."""
    log = PredictionLog(folder)
    for price in prices:
        add(log, price=price)
    log.write()
    return folder / "2026-03-02.jsonl"


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """A file of this process cannot grow beyond `size` bytes, as on a disk that fills up."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


# --- round trip -----------------------------------------------------------------------------------------------------


def test_a_prediction_comes_back_with_its_documented_fields_also_in_another_log(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "predictions")
    log.add("AAPL", "2026-02-13T10:30:00-05:00", 0.1 + 0.2, 0.78, MODEL, meets=True, buy=True)
    log.add("AAPL", "2026-02-13T10:31:00-05:00", 150.0, 0.649, MODEL, meets=False, buy=False)
    log.write()
    first: dict[str, Any] = {
        "symbol": "AAPL",
        "timestamp": "2026-02-13T10:30:00-05:00",
        "signal": 1,
        "confidence": 0.78,
        "price": 0.1 + 0.2,
        "recommendation": "BUY",
        "meets_threshold": True,
        "model_id": MODEL,
    }
    hold = {"signal": 0, "recommendation": "HOLD", "meets_threshold": False}
    second = {**first, "timestamp": "2026-02-13T10:31:00-05:00", "price": 150.0, "confidence": 0.649, **hold}
    assert list(PredictionLog(tmp_path / "predictions").read("AAPL")) == [first, second]


def test_what_meets_the_threshold_after_the_close_is_no_recommendation_to_buy(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.add("AAPL", at("2026-03-02"), 1.0, 0.65, MODEL, meets=True, buy=False)
    log.write()
    (prediction,) = log.read("AAPL")
    assert (prediction["meets_threshold"], prediction["signal"], prediction["recommendation"]) == (True, 0, "HOLD")


def test_nothing_is_written_before_write_and_nothing_twice(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "predictions")
    log.write()
    assert not (tmp_path / "predictions").exists()
    add(log)
    assert prices(log) == []
    log.write()
    log.write()
    assert prices(log) == [150.5]


def test_each_new_york_day_has_its_file_and_days_are_read_oldest_first(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    for day, price in (("2026-03-02", 1.0), ("2026-03-03", 2.0), ("2026-03-03", 3.0), ("2026-02-27", 0.5)):
        add(log, timestamp=at(day, "23:30:00"), price=price)
    log.write()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2026-02-27.jsonl", "2026-03-02.jsonl", "2026-03-03.jsonl"]
    assert prices(log) == [0.5, 1.0, 2.0, 3.0]


def test_a_symbol_that_begins_another_is_not_confused_with_it(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    for price, symbol in enumerate(("A", "AA", "AAL", "BRK.B", "BRK"), start=1):
        add(log, symbol, price=float(price))
    log.write()
    assert [prices(log, symbol) for symbol in ("A", "AA", "AAL", "BRK.B", "BRK")] == [[1.0], [2.0], [3.0], [4.0], [5.0]]
    assert prices(log, "B") == prices(log, "") == []


def test_no_folder_is_no_history(tmp_path: Path) -> None:
    assert prices(PredictionLog(tmp_path / "predictions")) == []


def test_a_disk_that_takes_only_a_part_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    for price in range(10):
        add(log, price=float(price))
    with room_for(1000), pytest.raises(OSError, match="File too large"):
        log.write()
    assert (tmp_path / "2026-03-02.jsonl").stat().st_size == 1000
    log.write()
    assert set(prices(log)) == set(map(float, range(10)))


# --- several writers ------------------------------------------------------------------------------------------------


def test_two_logs_of_one_folder_add_to_each_other(tmp_path: Path) -> None:
    one, other = PredictionLog(tmp_path), PredictionLog(tmp_path)
    for price in range(10):
        add(one if price % 2 else other, price=float(price))
        one.write()
        other.write()
    assert prices(one) == prices(other) == [float(price) for price in range(10)]


def test_several_processes_append_whole_lines(tmp_path: Path) -> None:
    names = ["AAA", "BBB", "CCC"]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name], cwd=ROOT, stdin=subprocess.PIPE)
        for name in names
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.close()
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    lines = (tmp_path / "2026-03-02.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 3 * 200 * 3
    expected = [100.0 + i for i in range(200) for _ in range(3)]
    assert all(prices(PredictionLog(tmp_path), name) == expected for name in names)


# --- after a crash, and later ---------------------------------------------------------------------------------------


def test_a_last_line_cut_at_any_byte_is_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, [1.0, 2.0, 3.0])
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for end in range(start, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert prices(PredictionLog(tmp_path)) == [1.0, 2.0]
    path.write_bytes(whole[:-1])
    assert prices(PredictionLog(tmp_path)) == [1.0, 2.0, 3.0]


def test_old_days_are_compressed_and_stay_readable_in_order(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    days = [date(2026, 1, 5) + timedelta(days=i) for i in range(KEPT_PLAIN + 3)]
    for number, day in enumerate(days):
        add(log, timestamp=at(day), price=float(number + 1))
    log.write()
    plain = (tmp_path / f"{days[0]}.jsonl").read_bytes()
    before = list(log.read("NVDA"))
    log.compress_old()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *(f"{day}.jsonl.gz" for day in days[:3]),
        *(f"{day}.jsonl" for day in days[3:]),
    ]
    assert gzip.decompress((tmp_path / f"{days[0]}.jsonl.gz").read_bytes()) == plain
    assert list(log.read("NVDA")) == before
    log.compress_old()
    assert list(PredictionLog(tmp_path).read("NVDA")) == before


def test_the_newest_days_stay_plain(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    for i in range(KEPT_PLAIN):
        add(log, timestamp=at(date(2026, 1, 5) + timedelta(days=i)))
    log.write()
    log.compress_old()
    assert {p.suffix for p in tmp_path.iterdir()} == {".jsonl"}


def test_a_day_that_could_not_be_compressed_is_still_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = PredictionLog(tmp_path)
    for i in range(KEPT_PLAIN + 1):
        add(log, timestamp=at(date(2026, 1, 5) + timedelta(days=i)), price=float(i + 1))
    log.write()

    def full(source: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        log.compress_old()
    assert prices(log) == [float(i + 1) for i in range(KEPT_PLAIN + 1)]


@pytest.mark.parametrize("torn", [b'{"symbol":"NVDA","timest', b"\x00" * 40, b"\xff\xfe garbage"])
def test_what_is_appended_behind_a_torn_line_is_read(tmp_path, torn):
    path = written(tmp_path, [1.0])
    path.write_bytes(path.read_bytes() + torn)
    written(tmp_path, [2.0, 3.0])
    assert prices(PredictionLog(tmp_path)) == [1.0, 2.0, 3.0]


def test_a_temporary_file_of_a_killed_compression_is_no_history(tmp_path):
    import gzip

    path = written(tmp_path, [1.0])
    (tmp_path / ".2026-03-01.jsonl.gz.0a1b2c3d.tmp").write_bytes(gzip.compress(path.read_bytes()))
    assert prices(PredictionLog(tmp_path)) == [1.0]


def test_a_day_that_is_there_plain_and_compressed_counts_once(tmp_path):
    import gzip

    path = written(tmp_path, [1.0])
    path.with_suffix(".jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert prices(PredictionLog(tmp_path)) == [1.0]


def test_a_day_compressed_before_and_appended_to_keeps_both_parts(tmp_path):
    from datetime import date

    log = PredictionLog(tmp_path)
    days = [date(2026, 1, 5) + timedelta(days=i) for i in range(KEPT_PLAIN + 1)]
    for day in days:
        add(log, timestamp=at(day), price=1.0)
    log.write()
    log.compress_old()
    add(log, timestamp=at(days[0], "11:00:00"), price=2.0)
    log.write()
    assert prices(log)[:2] == [1.0, 2.0]
    log.compress_old()
    assert prices(log)[:2] == [1.0, 2.0]


def test_what_a_model_predicted_live_is_found_by_its_bar(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.add("NVDA", at("2026-03-02"), 1.0, 0.7, MODEL, meets=True, buy=True)
    log.add("NVDA", at("2026-03-03"), 1.0, 0.6, "another", meets=False, buy=False)
    log.add("AAPL", at("2026-03-03"), 1.0, 0.5, MODEL, meets=False, buy=False)
    log.add("AAPL", at("2026-03-03"), 1.0, 0.4, MODEL, meets=False, buy=False)  # asked again: the first word counts
    log.write()
    found = log.of_model(MODEL)
    assert found["symbol"].tolist() == ["NVDA", "AAPL"]
    assert found["confidence"].tolist() == [0.7, 0.5]
    assert found["timestamp"].astype("str").tolist() == ["2026-03-02 15:29:00+00:00", "2026-03-03 15:29:00+00:00"]
    assert log.of_model("unknown").empty


def test_a_models_own_confidence_stands_beside_what_a_learnt_cost_made_of_it(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.add("AAPL", at("2026-03-02"), 1.5, 0.61, MODEL, meets=False, buy=False, model_confidence=0.7123456)
    log.add("NVDA", at("2026-03-02"), 2.5, 0.55, MODEL, meets=False, buy=False)
    log.write()
    line = (tmp_path / "2026-03-02.jsonl").read_text().splitlines()[0]
    assert line.endswith(f'"meets_threshold":false,"model_confidence":0.712346,"model_id":"{MODEL}"}}')
    assert [p.get("model_confidence") for s in ("AAPL", "NVDA") for p in log.read(s)] == [0.712346, None]
    assert log.of_model(MODEL)["confidence"].tolist() == [0.712346, 0.55]
    day = log.of_day("2026-03-02")
    assert day["confidence"].tolist() == [0.61, 0.55]
    assert day["model_confidence"].tolist() == [0.712346, 0.55]


# --- a day as a table -----------------------------------------------------------------------------------------------


def test_a_day_is_what_its_lines_say_each_symbol_and_bar_once_and_sorted(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    rng = random.Random(1)
    for _ in range(300):
        timestamp = at("2026-03-02", f"10:{rng.randrange(20):02}:00")
        own = rng.random() if rng.random() < 0.5 else None
        model, meets = rng.choice([MODEL, "20260302_200000"]), rng.random() < 0.5
        price, symbol = rng.choice([1e-5, 1e22, 150.25, 3.0]), rng.choice(["B", "A", "BRK.B"])
        log.add(symbol, timestamp, price, rng.random(), model, meets=meets, buy=False, model_confidence=own)
    add(log, timestamp=at("2026-03-03"))
    log.write()
    expected: dict[tuple[str, str], dict[str, Any]] = {}
    for line in (tmp_path / "2026-03-02.jsonl").read_text().splitlines():
        prediction = json.loads(line)
        expected.setdefault((prediction["symbol"], prediction["timestamp"]), prediction)
    day = log.of_day("2026-03-02")
    assert len(day) == len(expected) < 300
    for row, key in zip(day.itertuples(), sorted(expected), strict=True):
        prediction = expected[key]
        assert row.symbol == prediction["symbol"]
        assert row.timestamp + timedelta(minutes=1) == datetime.fromisoformat(prediction["timestamp"])
        assert (row.price, row.confidence) == (prediction["price"], prediction["confidence"])
        assert row.model_confidence == prediction.get("model_confidence", prediction["confidence"])
        assert (row.meets_threshold, row.model_id) == (prediction["meets_threshold"], prediction["model_id"])


def test_a_model_is_heard_even_where_another_spoke_of_the_same_bar_first(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    for confidence, model in ((0.1, "another"), (0.2, MODEL), (0.3, MODEL)):
        log.add("NVDA", at("2026-03-02"), 1.0, confidence, model, meets=False, buy=False)
    log.write()
    assert log.of_model(MODEL)["confidence"].tolist() == [0.2]
    assert log.of_day("2026-03-02")["confidence"].tolist() == [0.1]


def test_who_asks_within_a_minute_asks_of_the_bar_before_that_minute(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    add(log, timestamp=at("2026-03-02", "10:30:27"))
    add(log, timestamp=at("2026-03-02", "10:30:00"))
    log.write()
    for found in (log.of_day("2026-03-02"), log.of_model(MODEL)):
        assert found["timestamp"].astype("str").tolist() == ["2026-03-02 15:29:00+00:00"]


def test_a_day_without_predictions_is_an_empty_table_of_the_same_types(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    add(log)
    log.write()
    empty, day = log.of_day("2026-03-03"), log.of_day("2026-03-02")
    assert empty.empty
    assert empty.dtypes.equals(day.dtypes)
    assert log.of_model("unknown").dtypes.equals(log.of_model(MODEL).dtypes)


@pytest.mark.parametrize("torn", [b'{"symbol":"NVDA","timest', b"\x00" * 40, b"\xff\xfe garbage"])
def test_a_day_passes_over_what_a_crash_cut_short(tmp_path: Path, torn: bytes) -> None:
    log = PredictionLog(tmp_path)
    for minute in range(3):
        add(log, timestamp=at("2026-03-02", f"10:3{minute}:00"))
        log.write()
        path = tmp_path / "2026-03-02.jsonl"
        path.write_bytes(path.read_bytes() + torn)
    assert len(log.of_day("2026-03-02")) == len(log.of_model(MODEL)) == 3


def test_a_line_cut_at_any_byte_is_no_prediction_and_spoils_none_behind_it(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.add("OLD", at("2026-03-02"), 1.5, 0.61, "20260101_200000", meets=True, buy=True, model_confidence=0.7)
    log.write()
    path = tmp_path / "2026-03-02.jsonl"
    whole = path.read_bytes()
    path.unlink()
    add(log)
    log.write()
    behind, day = path.read_bytes(), log.of_day("2026-03-02")
    for end in range(len(whole) - 1):
        path.write_bytes(whole[:end] + behind)
        pd.testing.assert_frame_equal(log.of_day("2026-03-02"), day)
    path.write_bytes(behind + whole[:-1])
    assert log.of_day("2026-03-02")["symbol"].tolist() == ["NVDA", "OLD"]


def test_a_compressed_day_is_the_same_table(tmp_path: Path) -> None:
    path = written(tmp_path, [1.0])
    day, found = (PredictionLog(tmp_path).of_day("2026-03-02"), PredictionLog(tmp_path).of_model(MODEL))
    path.with_suffix(".jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    pd.testing.assert_frame_equal(PredictionLog(tmp_path).of_day("2026-03-02"), day)
    pd.testing.assert_frame_equal(PredictionLog(tmp_path).of_model(MODEL), found)
