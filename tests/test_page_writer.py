"""A running trader's page: written by a process of its own, every few minutes, whatever becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from reporting import BooksOnDisk
from trading import settings_in

import page_writer
import report
from desk.journal import Journal
from page_writer import EVERY_SECONDS, FIRST_SECONDS, PageWriter


@dataclass
class Time:
    """A clock that goes on when it is told to."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def books(tmp_path: Path) -> BooksOnDisk:
    books = BooksOnDisk(settings_in(tmp_path, MARKET="recorded"))
    books.write([{"kind": "account", "cash": 100_000.0}, {"kind": "minute", "minute": 29_541_510, "equity": 100_010.0}])
    return books


def finish(writer: PageWriter) -> None:
    """Until the page that was begun is done."""
    assert writer._process is not None
    writer._process.wait(60)


def test_a_page_is_written_soon_and_anew_when_it_is_old(books: BooksOnDisk, time: Time) -> None:
    page, said = books.settings.DATA_DIR / "report.html", list[str]()
    writer = PageWriter(books.settings, said.append, time)
    writer.tick()
    assert writer._process is None
    time.seconds += FIRST_SECONDS
    writer.tick()
    finish(writer)
    assert "100,010.00 USD" in page.read_text()
    page.unlink()
    time.seconds += EVERY_SECONDS - 1
    writer.tick()
    assert writer._process is None
    time.seconds += 1
    writer.tick()
    finish(writer)
    assert page.exists()
    assert said == []


def test_pages_reload_by_themselves_while_the_books_are_written_and_the_last_one_does_not(
    books: BooksOnDisk, time: Time
) -> None:
    writer, page = PageWriter(books.settings, print, time), books.settings.DATA_DIR / "report.html"
    with Journal(books.settings.MODELS_DIR / "journal.jsonl", "stamp"):
        time.seconds += FIRST_SECONDS
        writer.tick()
        finish(writer)
        assert f'data-every="{report.RELOAD_SECONDS}"' in page.read_text()
    writer.close()
    assert "data-every" not in page.read_text().partition("<script>")[0]


def test_a_page_that_fails_is_said_once_and_so_is_the_first_that_works_again(
    books: BooksOnDisk, time: Time, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list[str]()
    writer = PageWriter(books.settings, said.append, time)
    (tmp_path / "broken.py").write_text("import sys; print('the disk is gone', file=sys.stderr); sys.exit(2)")
    with monkeypatch.context() as patch:
        patch.setattr(page_writer, "REPORT", tmp_path / "broken.py")
        for _ in range(3):
            time.seconds += EVERY_SECONDS
            writer.tick()
            finish(writer)
        writer.tick()
    assert said == ["the page cannot be written: the disk is gone"]
    writer.close()
    assert said[1:] == ["the page can be written again"]


def test_a_page_that_hangs_is_ended_and_hinders_nothing(
    books: BooksOnDisk, time: Time, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list[str]()
    writer = PageWriter(books.settings, said.append, time)
    (tmp_path / "hanging.py").write_text("import threading; threading.Event().wait()")
    monkeypatch.setattr(page_writer, "REPORT", tmp_path / "hanging.py")
    time.seconds += FIRST_SECONDS
    writer.tick()
    hanging = writer._process
    writer.tick()
    assert hanging is not None
    assert hanging.poll() is None
    time.seconds += EVERY_SECONDS
    writer.tick()
    assert hanging.wait(10) != 0
    assert len(said) == 1
    monkeypatch.setattr(page_writer, "PATIENCE_SECONDS", 0.1)
    writer.close()
