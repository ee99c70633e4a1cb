"""The page says what was learnt, from what, how well it holds, and what would change the verdict."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from reporting import CARD, EARLIER_CARD, REVIEW, BooksOnDisk, Page
from trading import settings_in


@pytest.fixture
def books(tmp_path: Path) -> BooksOnDisk:
    books = BooksOnDisk(settings_in(tmp_path))
    books.write()
    return books


def page_of(books: BooksOnDisk, *reviews: dict[str, Any], **changes: Any) -> Page:
    books.serve(CARD | changes)
    books.review(*reviews)
    return books.page()


# --- can it be believed ----------------------------------------------------------------------------------------------


def test_the_verdict_comes_first_with_its_reason_and_what_would_change_it(books: BooksOnDisk) -> None:
    assert (
        "Can it be believed verdict unproven : too few signals: 7 would change it More days like those so far would "
        "be enough: 13 more trades needed, 7 in 12 days so far. That makes 35 judged days in place of 12 (a"
    ) in page_of(books).text


def test_a_proven_model_says_so_and_which_day_would_undo_it(books: BooksOnDisk) -> None:
    text = page_of(books, proven=True, reason="39 trades on 12 later days").text
    assert "verdict proven : 39 trades on 12 later days would change it Every training judges anew" in text


def test_the_page_says_on_how_many_days_the_model_was_judged_and_beside_what(books: BooksOnDisk) -> None:
    page = page_of(books)
    assert "On 12 days it had not seen" in page.text
    head, *rows = page.tables["On days it had not seen"]
    assert head == ["measure", "this model", "standard error", "beside it", "which is that of"]
    assert rows[0] == ["AUC, mean over days", "0.618", "0.024", "0.500", "chance"]
    assert len(rows) == 11
    assert "one account could have made: one a symbol, 10 positions at most" in page.text


def test_publication_origin_hindsight_and_trials_are_told(books: BooksOnDisk) -> None:
    text = page_of(books).text
    for words in (
        "published yes: there is no model in use to compare with",
        "rows 93,637, worth 426 independent ones",
        "81% of the examples still chosen by hindsight",
        "The chance that this one is better than such a lucky find is 91.00%",
    ):
        assert words in text


def test_a_card_of_an_earlier_version_is_shown_with_the_cure(books: BooksOnDisk) -> None:
    books.serve(EARLIER_CARD)
    page = books.page()
    assert "verdict unproven : too few signals: 7" in page.text
    assert "This card was made by an earlier version and does not tell. Run: python ml_trainer.py" in page.text
    assert "On days it had not seen" not in page.tables
    assert page.tables["Calibration"][1] == ["0.65", "58.01%", "-", "412", "too few days", ""]
    assert page.tables["Importances"][1] == ["rsi_14", "+0.0300", "-", "-", ""]


def test_a_card_with_hardly_anything_on_it_is_no_error(books: BooksOnDisk) -> None:
    kept = ("published", "versions", "sha256", "stamp", "model_type", "symbols", "train_start", "train_end", "rows")
    kept += ("independent_rows", "features", "proven", "reason")
    books.serve({name: CARD[name] for name in kept})
    text = books.page().text
    assert "No row of a later day was judged." in text
    assert "No model with importances is there yet." in text


# --- what a confidence meant -----------------------------------------------------------------------------------------


def test_calibration_says_what_a_confidence_meant_beside_an_exact_one(books: BooksOnDisk) -> None:
    page = page_of(books)
    assert page.tables["Calibration"] == [
        ["mean confidence", "profitable, %", "if exact, %", "of rows", "so", "plot"],
        ["0.65", "58.01%", "55.00% to 75.00%", "412", "as promised", ""],
        ["0.75", "52.00%", "61.00% to 89.00%", "100", "less than promised", ""],
        ["0.85", "100.00%", "-", "5", "too few days", ""],
    ]
    assert "a confidence around 0.65 meant that 58.01% of 412 rows were profitable" in page.text
    assert "Trades of a confidence of 0.43 earn nothing (break-even)." in page.text
    assert "the grey band where the dot would fall nine times in ten if the confidence were exact" in page.text


# --- what outcomes taught --------------------------------------------------------------------------------------------


def test_learnt_costs_are_shown_dearest_first_with_the_signals_they_turned_down(books: BooksOnDisk) -> None:
    earlier = REVIEW | {"session": "2026-02-27", "turned_down": REVIEW["turned_down"] * 2}
    page = page_of(books, earlier, REVIEW)
    assert (
        "1 of 2 symbols traded lately cost more than the training assumes, so their confidence is lowered. "
        "Turned down for that: 1 signal on 2026-03-02, 3 over 2 reviews."
    ) in page.text
    assert [row[:2] for row in page.tables["Learnt costs"][1:]] == [["NVDA", "0.42%"], ["AAPL", "0.00%"]]
    assert page.tables["Learnt costs"][1][2].endswith("a round trip counts 0.42% more")
    assert "Turned down on 2026-03-02, times New York" in page.text
    assert page.tables["Signals turned down"][1:] == [
        ["11:03", "NVDA", "learnt from outcomes: confidence 0.71 becomes 0.58"]
    ]


def test_trades_that_were_not_made_say_what_they_have_shown(books: BooksOnDisk) -> None:
    text = page_of(books, REVIEW).text
    for words in (
        "shadow trades 25 shadow trades on 6 days, +0.52% each after cost: skill shown",
        "not taken too few to judge: 7 signals not taken on 2 days have ended",
        "followed so far 54 ended, 4 open",
        "Shadow trades are the ones a lower threshold would have made",
    ):
        assert words in text


def test_win_rates_stand_by_confidence_with_the_correction_that_acts(books: BooksOnDisk) -> None:
    assert page_of(books, REVIEW).tables["Win rates"][1:] == [
        ["0.65 to 0.70", "-0.042", "of 240 trades on 30 days, 50% won: fewer than promised"]
    ]


def test_an_evening_without_fills_or_trades_says_so(books: BooksOnDisk) -> None:
    page = page_of(books, REVIEW | {"costs": [], "turned_down": [], "win_rates": []})
    assert "No fill of the last weeks could be measured yet." in page.text
    assert "of those not taken No trade has closed yet." in page.text
    assert not {"Learnt costs", "Signals turned down", "Win rates"} & set(page.tables)


# --- drift and verification ------------------------------------------------------------------------------------------


def test_the_drift_light_is_a_word_and_a_shape_and_has_its_three_parts(books: BooksOnDisk) -> None:
    page = page_of(books, REVIEW)
    assert "on 2026-03-02 ▲ amber: the day's inputs differ 3.0 times as much; most: atr_14" in page.text
    assert [row[:2] for row in page.tables["Three lights"][1:]] == [
        ["features", "▲ amber"], ["signals", "● green"], ["calibration", "not known"],
    ]  # fmt: skip
    assert "The light is the worst of the three." in page.text


def test_the_most_shifted_features_stand_beside_what_is_usual(books: BooksOnDisk) -> None:
    page = page_of(books, REVIEW)
    assert "The 2 most shifted of 2 features" in page.text
    assert page.tables["Shifts"][1:] == [
        ["atr_14", "1.520", "0.524", "unusual"],
        ["rsi_14", "0.030", "0.156", "usual"],
    ]
    many = [{"feature": f"f{i}", "psi": 1.0 - i / 10, "level": 0.5} for i in range(8)]
    shown = page_of(books, REVIEW | {"drift": REVIEW["drift"] | {"features": many}}).tables["Shifts"][1:]
    assert [row[0] for row in shown] == ["f0", "f1", "f2", "f3", "f4"]


def test_the_light_is_kept_evening_by_evening(books: BooksOnDisk) -> None:
    lights = {"2026-02-27": "green", "2026-03-02": "red", "2026-03-03": None}
    reviews = [REVIEW | {"session": day, "drift": REVIEW["drift"] | {"light": light}} for day, light in lights.items()]
    rows = page_of(books, *reviews).tables["Drift, newest first"][1:]
    assert [row[:2] for row in rows] == [
        ["2026-03-03", "not known"], ["2026-03-02", "■ red"], ["2026-02-27", "● green"],
    ]  # fmt: skip


def test_where_nothing_can_be_judged_the_light_is_not_known(books: BooksOnDisk) -> None:
    drift = {"light": None, "words": "no model served", "parts": {}, "features": []}
    page = page_of(books, REVIEW | {"drift": drift})
    assert "on 2026-03-02 not known: no model served" in page.text
    assert not {"Three lights", "Shifts"} & set(page.tables)


def test_verification_names_the_features_that_differed_and_why(books: BooksOnDisk) -> None:
    page = page_of(books, REVIEW)
    assert "The day's predictions, made once more from the bars that the day has in the end." in page.text
    assert "2026-03-02: 4,668 predictions verified: 98.5% agree; 3 decisions would have flipped." in page.text
    assert page.tables["Features that differed"][1:] == [
        ["vwap_deviation", "67", "1.20%", "40.00%"],
        ["rsi_14", "3", "0.10%", "-"],
    ]
    assert page.tables["Why they differed"][1:] == [
        ["revised bar", "60", "2"], ["late bar", "7", "0"], ["equal features", "0", "1"],
    ]  # fmt: skip


def test_a_day_that_agrees_needs_no_table(books: BooksOnDisk) -> None:
    agreed = REVIEW["verification"] | {"features": [], "causes": {}, "flips": {}}
    tables = page_of(books, REVIEW | {"verification": agreed}).tables
    assert not {"Features that differed", "Why they differed"} & set(tables)


def test_a_replay_has_nothing_to_verify(books: BooksOnDisk) -> None:
    text = page_of(books, REVIEW | {"verification": None}).text
    assert "2026-03-02 left nothing to compare with: a replay predicts from the final bars itself." in text


def test_without_a_review_each_section_says_when_one_comes(books: BooksOnDisk) -> None:
    assert page_of(books).text.count("No evening has been reviewed yet: that comes after the close") == 3


# --- all models ------------------------------------------------------------------------------------------------------


def test_every_model_has_a_row_with_its_verdicts(books: BooksOnDisk) -> None:
    refused = {"stamp": "20260303_200000", "published": False, "publish_reason": "worse than the model in use"}
    books.train(CARD | refused | {"proven": True, "reason": "39 trades"}, EARLIER_CARD | {"stamp": "20260101_200000"})
    assert page_of(books).tables["Models, newest first"][1:] == [
        ["20260303_200000", "0.618 ± 0.024", "proven: 39 trades", "no: worse than the model in use"],
        ["20260227_200000 (in use)", "0.618 ± 0.024", "unproven: too few signals: 7",
         "yes: there is no model in use to compare with"],
        ["20260101_200000", "0.618", "unproven: too few signals: 7", "yes: the reason was not kept"],
    ]  # fmt: skip


def test_a_card_that_cannot_be_read_is_named(books: BooksOnDisk) -> None:
    books.serve(CARD)
    (books.settings.MODELS_DIR / "card_20260101_200000.json").write_text("{")
    assert "Cards that cannot be read: 20260101_200000." in books.page().text


def importances(stamp: str, **lost: float) -> dict[str, Any]:
    rows = [
        {"feature": name, "permutation": value, "standard_error": 0.002, "impurity": 0.5}
        for name, value in lost.items()
    ]
    return CARD | {"stamp": stamp, "features": list(lost), "importances": rows}


def test_importances_are_plotted_over_models_with_the_newest_in_columns(books: BooksOnDisk) -> None:
    cards = [importances(f"2026021{i}_200000", rsi_14=0.01 * i, return_1=-0.001) for i in range(7)]
    books.train(*cards)
    page = books.page()
    assert page.tables["AUC lost without a feature, by model"] == [
        ["feature", "AUC lost, oldest model left",
         "02-12 20:00", "02-13 20:00", "02-14 20:00", "02-15 20:00", "02-16 20:00"],
        ["rsi_14", "", "+0.0200", "+0.0300", "+0.0400", "+0.0500", "+0.0600"],
        ["return_1", "", "-0.0010", "-0.0010", "-0.0010", "-0.0010", "-0.0010"],
    ]  # fmt: skip
    spoken = [value for name, value in page.attributes if name == "aria-label" and value.startswith("oldest first")]
    assert spoken[0] == "oldest first: +0.0000, +0.0100, +0.0200, +0.0300, +0.0400, +0.0500, +0.0600"
    assert "How much AUC is lost when a feature is shuffled. At 0 or below the model does as well" in page.text
    assert "All plots have one scale, -0.003 to +0.062" in page.text
    assert "Importances of the 2 features in model 20260216_200000" in page.text


def test_features_that_earn_nothing_are_named_with_the_setting(books: BooksOnDisk) -> None:
    books.train(*(importances(f"2026021{i}_200000", rsi_14=0.01, return_1=-0.001) for i in range(5)))
    assert "Consider removing: return_1 (LEFT_OUT_FEATURES)." in books.page().text


def test_features_that_all_earn_their_place_are_said_to(books: BooksOnDisk) -> None:
    books.train(*(importances(f"2026021{i}_200000", rsi_14=0.01, return_1=0.001) for i in range(5)))
    assert "Every feature has earned its place, on average over the newest models." in books.page().text


def test_before_five_models_no_feature_is_judged(books: BooksOnDisk) -> None:
    books.train(*(importances(f"2026021{i}_200000", rsi_14=0.01, return_1=-0.001) for i in range(4)))
    assert "4 models so far; from 5 on, features that earn nothing are named." in books.page().text


def test_importances_become_bars_on_both_sides_of_zero(books: BooksOnDisk) -> None:
    books.serve(CARD)
    bars = re.findall(r'<rect x="([\d.]+)" width="([\d.]+)"', books.html())
    assert bars == [("25.0", "75.0"), ("0.0", "25.0"), ("25.0", "0.5")]


def test_a_feature_that_an_older_model_lacked_leaves_a_gap(books: BooksOnDisk) -> None:
    books.train(importances("20260210_200000", rsi_14=0.01), importances("20260211_200000", rsi_14=0.02, return_1=0.03))
    rows = books.page().tables["AUC lost without a feature, by model"][1:]
    assert rows == [["return_1", "", "-", "+0.0300"], ["rsi_14", "", "+0.0100", "+0.0200"]]
