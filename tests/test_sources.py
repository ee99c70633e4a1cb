"""One source at a time: folders are claimed, kept apart, and only what was simulated is ever moved."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from trading import settings_in

from command import EXIT_CODES
from config import Settings
from desk.journal import AlreadyRunning, Journal
from market.bars import NoBars
from market.simulated_feed import SYMBOLS
from sources import StateRefused, bar_store, claim, open_market, stamp_of, stored_market, traded_sessions

NOW = datetime(2026, 3, 3, 1, 0, 3, tzinfo=UTC)  # 20:00:03 the day before in New York


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


def folders(settings: Settings) -> tuple[Path, Path]:
    return settings.MODELS_DIR, settings.DATA_DIR


def fill(settings: Settings) -> None:
    """What a run leaves: a journal, a model, bars, a log, and the file that keeps the folder in git."""
    for folder in folders(settings):
        (folder / ".gitkeep").touch()
    (settings.MODELS_DIR / "journal.jsonl").write_text("{}\n")
    (settings.MODELS_DIR / "predictions").mkdir()
    (settings.DATA_DIR / "logs").mkdir()
    (settings.DATA_DIR / "logs" / "live_trader.log").write_text("said\n")
    (settings.DATA_DIR / "bars").mkdir()
    (settings.DATA_DIR / "bars" / "2026-03-02.parquet").write_text("bars")


def archives(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "archive").glob("*"))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_stamp_is_the_new_york_time() -> None:
    assert stamp_of(NOW) == "20260302_200003"


@pytest.mark.parametrize(("market", "feed"), [("recorded", "recorded"), ("simulated", "simulated"), ("alpaca", "iex")])
def test_a_claim_writes_down_market_and_feed_in_both_folders(settings: Settings, market: str, feed: str) -> None:
    assert stored_market(settings) is None
    assert claim(settings, market, now=NOW) is None
    for folder in folders(settings):
        assert json.loads((folder / "source.json").read_text()) == {"market": market, "feed": feed}
    assert stored_market(settings) == market
    assert claim(settings, market, now=NOW) is None  # again by its owner


@pytest.mark.parametrize(
    ("owner", "other"), [("recorded", "simulated"), ("recorded", "alpaca"), ("alpaca", "recorded")]
)
def test_another_source_is_refused_naming_both_and_the_cure(settings: Settings, owner: str, other: str) -> None:
    claim(settings, owner, now=NOW)
    fill(settings)
    before = [names(folder) for folder in folders(settings)]
    with pytest.raises(StateRefused) as caught:
        claim(settings, other, now=NOW, new_run=True)
    message = str(caught.value)
    assert f"belong to market {owner}" in message
    assert f"not to {other}" in message
    assert f"--market {owner}" in message
    assert f"MODELS_DIR=models_{other} DATA_DIR=data_{other}" in message
    assert "\n" not in message
    assert [names(folder) for folder in folders(settings)] == before
    assert stored_market(settings) == owner
    assert EXIT_CODES[StateRefused] == 5


def test_another_feed_of_the_same_market_is_another_source(settings: Settings) -> None:
    claim(settings, "alpaca", now=NOW)
    with pytest.raises(StateRefused, match=r"market alpaca \(feed iex\).* not to alpaca \(feed sip\)"):
        claim(replace(settings, FEED="sip"), "alpaca", now=NOW)


@pytest.mark.parametrize("lost", ["MODELS_DIR", "DATA_DIR"])
def test_a_note_in_one_of_the_folders_is_enough_to_refuse(settings: Settings, lost: str) -> None:
    claim(settings, "recorded", now=NOW)
    (getattr(settings, lost) / "source.json").unlink()
    assert stored_market(settings) == "recorded"
    with pytest.raises(StateRefused):
        claim(settings, "simulated", now=NOW)


def test_the_simulated_state_makes_way_for_another_market_and_its_logs_stay(settings: Settings, tmp_path: Path) -> None:
    claim(settings, "simulated", now=NOW)
    fill(settings)
    message = claim(settings, "recorded", now=NOW)
    assert message is not None
    assert "simulated_20260302_200003" in message
    assert archives(tmp_path) == ["simulated_20260302_200003"]
    archive = tmp_path / "archive" / "simulated_20260302_200003"
    assert names(archive / "models") == {"journal.jsonl", "predictions", "source.json"}
    assert names(archive / "data") == {"bars", "source.json"}
    assert (archive / "data" / "bars" / "2026-03-02.parquet").read_text() == "bars"
    assert names(settings.MODELS_DIR) == {".gitkeep", "journal.lock", "source.json"}
    assert names(settings.DATA_DIR) == {".gitkeep", "logs", "source.json"}
    assert (settings.DATA_DIR / "logs" / "live_trader.log").read_text() == "said\n"
    assert stored_market(settings) == "recorded"


def test_a_new_simulated_run_archives_the_books_of_the_last(settings: Settings, tmp_path: Path) -> None:
    claim(settings, "simulated", now=NOW, new_run=True)
    fill(settings)
    assert claim(settings, "simulated", now=NOW) is None  # a door that looks, not a run
    assert archives(tmp_path) == []
    assert claim(settings, "simulated", now=NOW, new_run=True) is not None
    assert archives(tmp_path) == ["simulated_20260302_200003"]
    assert stored_market(settings) == "simulated"
    assert not (settings.MODELS_DIR / "journal.jsonl").exists()


def test_bars_and_models_made_for_a_simulated_run_are_used_by_it(settings: Settings, tmp_path: Path) -> None:
    claim(settings, "simulated", now=NOW)
    fill(settings)
    (settings.MODELS_DIR / "journal.jsonl").unlink()
    assert claim(settings, "simulated", now=NOW, new_run=True) is None
    assert archives(tmp_path) == []
    assert (settings.DATA_DIR / "bars" / "2026-03-02.parquet").exists()


def test_only_the_last_archive_is_kept(settings: Settings, tmp_path: Path) -> None:
    for hour in (1, 2, 3):
        claim(settings, "simulated", now=NOW, new_run=True)
        (settings.MODELS_DIR / "journal.jsonl").write_text(f"{hour}")
        claim(settings, "simulated", now=NOW.replace(hour=hour), new_run=True)
    assert archives(tmp_path) == ["simulated_20260302_220003"]
    assert (tmp_path / "archive" / "simulated_20260302_220003" / "models" / "journal.jsonl").read_text() == "3"


def test_what_a_person_keeps_in_the_archive_stays(settings: Settings, tmp_path: Path) -> None:
    own, last = tmp_path / "archive" / "simulated_best_of_march", tmp_path / "archive" / "simulated_20260301_200000"
    for folder in (own, last):
        folder.mkdir(parents=True)
    claim(settings, "simulated", now=NOW)
    fill(settings)
    claim(settings, "recorded", now=NOW)
    assert archives(tmp_path) == ["simulated_20260302_200003", own.name]


def test_recorded_books_are_never_archived_by_a_new_run(settings: Settings, tmp_path: Path) -> None:
    claim(settings, "recorded", now=NOW)
    fill(settings)
    assert claim(settings, "recorded", now=NOW, new_run=True) is None
    assert (settings.MODELS_DIR / "journal.jsonl").exists()
    assert archives(tmp_path) == []


def test_the_simulated_market_opens_without_any_file_and_its_end_is_traded(settings: Settings) -> None:
    feed = open_market(replace(settings, MARKET="simulated", DAYS_BACK=7))
    assert feed.market == "simulated"
    assert feed.symbols(NOW) == SYMBOLS
    sessions = feed.sessions()
    assert traded_sessions(feed, None) == sessions[-5:]
    assert traded_sessions(feed, 2) == sessions[-2:]


def test_recorded_bars_are_needed_to_open_the_recorded_market(settings: Settings) -> None:
    with pytest.raises(NoBars, match="Run: python build_dataset"):
        open_market(settings)
    assert bar_store(settings).days() == []


def test_only_what_is_simulated_is_moved(settings: Settings, tmp_path: Path) -> None:
    claim(settings, "simulated", now=NOW)
    fill(settings)
    (settings.DATA_DIR / "source.json").write_text('{"market":"recorded","feed":"recorded"}')
    claim(settings, "recorded", now=NOW)
    assert (settings.DATA_DIR / "bars" / "2026-03-02.parquet").exists()
    assert not (tmp_path / "archive" / "simulated_20260302_200003" / "data").exists()


def test_the_books_of_a_running_trader_are_not_moved_away(settings: Settings) -> None:
    claim(settings, "simulated", now=NOW)
    with Journal(settings.MODELS_DIR / "journal.jsonl", "s"), pytest.raises(AlreadyRunning):
        claim(settings, "simulated", now=NOW, new_run=True)
    assert (settings.MODELS_DIR / "journal.jsonl").exists()


def test_a_halt_outlives_a_new_simulated_run(settings: Settings) -> None:
    claim(settings, "simulated", now=NOW, new_run=True)
    (settings.MODELS_DIR / "journal.jsonl").write_text("books")
    (settings.MODELS_DIR / "HALT").touch()
    assert claim(settings, "simulated", now=NOW, new_run=True) is not None
    assert (settings.MODELS_DIR / "HALT").exists()
    assert not (settings.MODELS_DIR / "journal.jsonl").exists()


def test_a_folder_with_somebody_elses_files_is_not_taken(settings: Settings) -> None:
    settings.MODELS_DIR.mkdir(parents=True)
    (settings.MODELS_DIR / "thesis.docx").write_text("years of work")
    with pytest.raises(StateRefused, match=r"holds files that are not this program's \(thesis.docx\)"):
        claim(settings, "simulated", now=NOW, new_run=True)
    assert [path.name for path in settings.MODELS_DIR.iterdir()] == ["thesis.docx"]


def test_files_that_a_person_brought_from_another_machine_are_ours(settings: Settings) -> None:
    settings.MODELS_DIR.mkdir(parents=True)
    for name in (
        "model_random_forest_20260302_200000.pkl",
        "card_20260302_200000.json",
        "current.json",
        "journal.jsonl",
    ):
        (settings.MODELS_DIR / name).touch()
    assert claim(settings, "recorded", now=NOW) is None


def test_temporary_files_of_writers_that_were_killed_are_removed_and_those_of_one_at_work_are_not(
    settings: Settings,
) -> None:
    claim(settings, "recorded", now=NOW)
    folder = settings.DATA_DIR / "bars"
    folder.mkdir()
    old, new = folder / ".2026-03-02.parquet.0a1b2c3d.tmp", folder / ".2026-03-02.parquet.4e5f6a7b.tmp"
    for path, hours in ((old, 25), (new, 1)):
        path.touch()
        when = (NOW - timedelta(hours=hours)).timestamp()
        os.utime(path, (when, when))
    claim(settings, "recorded", now=NOW)
    assert list(folder.iterdir()) == [new]


def test_a_temporary_file_that_its_writer_renames_meanwhile_is_no_trouble(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(settings, "recorded", now=NOW)
    (settings.MODELS_DIR / ".journal.jsonl.0a1b2c3d.tmp").touch()
    is_file = Path.is_file

    def renamed_next(path: Path) -> bool:
        found = is_file(path)
        if found and path.suffix == ".tmp":
            path.rename(path.with_name("journal.jsonl"))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_file", renamed_next)
        assert claim(settings, "recorded", now=NOW) is None
    assert (settings.MODELS_DIR / "journal.jsonl").exists()
