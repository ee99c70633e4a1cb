"""models/reviews/: one file an evening, the newest serves, and none is known before it was made."""

from __future__ import annotations

import json
import logging
import os
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from learning.reviews import Review, Reviews
from market.hours import at_new_york

DAYS = [date(2026, 2, day) for day in (2, 3, 4)]


def review(day: date, **more: object) -> Review:
    learnt = {"drift": {"light": "green"}, "costs": [], "win_rates": []}
    return {"session": str(day), "as_of": at_new_york(day, "20:00").isoformat(), **learnt, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "reviews"


@pytest.fixture
def reviews(folder: Path) -> Reviews:
    """Written in another order than that of their days."""
    reviews = Reviews(folder)
    for day in (DAYS[1], DAYS[2], DAYS[0]):
        reviews.write(day, review(day))
    return reviews


def test_each_evening_has_a_file_of_its_date_in_strict_json(reviews: Reviews, folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [f"{day}.json" for day in DAYS]
    assert json.loads((folder / f"{DAYS[0]}.json").read_text()) == review(DAYS[0])
    with pytest.raises(ValueError, match="JSON"):
        reviews.write(DAYS[0], review(DAYS[0], psi=float("nan")))
    assert reviews.all()[0] == review(DAYS[0])


def test_all_come_oldest_first(reviews: Reviews) -> None:
    assert reviews.all() == [review(day) for day in DAYS]


def test_a_review_made_again_takes_the_place_of_the_earlier_one(reviews: Reviews, folder: Path) -> None:
    reviews.write(DAYS[2], review(DAYS[2], words=["again"]))
    assert Reviews(folder).newest(at_new_york(DAYS[2], "21:00")) == review(DAYS[2], words=["again"])
    assert len(reviews.all()) == 3


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (at_new_york(DAYS[0], "19:59"), None),
        (at_new_york(DAYS[0], "20:00"), DAYS[0]),
        (at_new_york(DAYS[2], "16:00"), DAYS[1]),
        (at_new_york(DAYS[2], "20:00") + timedelta(days=30), DAYS[2]),
    ],
)
def test_the_newest_is_the_last_that_had_been_made_by_then(reviews: Reviews, now: datetime, found: date | None) -> None:
    assert reviews.newest(now) == (None if found is None else review(found))


def test_before_the_first_evening_there_is_none(folder: Path) -> None:
    reviews = Reviews(folder)
    assert reviews.newest(at_new_york(DAYS[0], "20:00")) is None
    assert reviews.all() == []
    assert not folder.exists()


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "3", '{"session": "2026-02-04"}', '{"as_of": 5}', '{"as_of": "tonight"}'],
)
def test_a_review_that_cannot_be_read_is_passed_over_with_a_warning(
    reviews: Reviews, folder: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / f"{DAYS[2]}.json").write_text(content)
    with caplog.at_level(logging.WARNING):
        assert reviews.newest(at_new_york(DAYS[2], "21:00")) == review(DAYS[1])
        assert reviews.all() == [review(day) for day in DAYS[:2]]
    assert f"{DAYS[2]}.json cannot be read" in caplog.text


def test_a_review_without_a_zone_was_made_at_no_moment(reviews: Reviews, folder: Path) -> None:
    (folder / f"{DAYS[2]}.json").write_text('{"as_of": "2026-02-04T20:00:00"}')
    assert reviews.newest(at_new_york(DAYS[2], "21:00")) == review(DAYS[1])


def test_bytes_that_are_no_text_are_passed_over_too(reviews: Reviews, folder: Path) -> None:
    (folder / f"{DAYS[2]}.json").write_bytes(b"\xff\xfe\x00")
    assert reviews.newest(at_new_york(DAYS[2], "21:00")) == review(DAYS[1])


def test_what_else_lies_in_the_folder_is_no_review(reviews: Reviews, folder: Path) -> None:
    for name in ("notes.json", ".2026-02-05.json.ab12.tmp", "2026-02-05.json.bak"):
        (folder / name).write_text(json.dumps(review(date(2026, 2, 5))))
    assert reviews.all() == [review(day) for day in DAYS]


def test_the_signature_changes_when_a_review_is_written_and_only_then(folder: Path) -> None:
    reviews = Reviews(folder)
    seen = [reviews.signature()]
    for number in range(2):  # the second time in place of the first
        reviews.write(DAYS[0], review(DAYS[0], number=number))
        later = folder.stat().st_mtime_ns + (number + 1) * 10**9  # as if time had passed
        os.utime(folder, ns=(later, later))
        seen.append(reviews.signature())
        reviews.newest(at_new_york(DAYS[0], "21:00"))
        assert reviews.signature() == seen[-1]
    assert len(set(seen)) == 3
