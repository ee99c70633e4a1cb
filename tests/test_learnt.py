"""What was learnt is read from cards and reviews as they are on disk, and told in few words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reporting import CARD, EARLIER_CARD, REVIEW, BooksOnDisk
from test_verdicts import judged_table, with_skill
from trading import settings_in

from display.learnt import (
    Learnt,
    as_promised,
    judged,
    origin,
    publication,
    read_learnt,
    summary,
    terminal_lines,
    trials,
)
from durable import to_json
from learning.classifier import Calibration, TradeClassifier, fit, versions
from learning.model_store import ModelStore
from learning.money import by_day, traded

NOTHING = Learnt(None, [], [], [], None)


def reviewed(**changes: Any) -> Learnt:
    return replace(NOTHING, reviews=[REVIEW | changes])


# --- reading ---------------------------------------------------------------------------------------------------------


def test_cards_and_reviews_are_read_oldest_first_and_a_broken_card_is_named(tmp_path: Path) -> None:
    books = BooksOnDisk(settings_in(tmp_path))
    books.train(*(CARD | {"stamp": f"202602{day}_200000"} for day in (27, 25)))
    books.review(*(REVIEW | {"session": f"2026-03-0{day}"} for day in (3, 2)))
    (books.settings.MODELS_DIR / "card_20260226_200000.json").write_text("{")
    learnt = read_learnt(books.settings.MODELS_DIR, None)
    assert [card["stamp"] for card in learnt.cards] == ["20260225_200000", "20260227_200000"]
    assert [review["session"] for review in learnt.reviews] == ["2026-03-02", "2026-03-03"]
    assert learnt.review == learnt.reviews[1]
    assert learnt.unreadable == ["20260226_200000"]


def test_an_empty_folder_has_taught_nothing(tmp_path: Path) -> None:
    assert read_learnt(tmp_path / "models", None) == NOTHING


def test_the_daily_margin_is_that_by_which_the_model_in_use_was_judged(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    table = with_skill(judged_table(rng, days=12), rng, 0.6)
    card = CARD | {"market": "recorded"}
    rows = rng.normal(size=(50, len(card["features"])))
    scaler, estimator = fit("gradient_boosting", rows, rng.integers(0, 2, 50).astype(float), np.full(50, 1.0))
    classifier = TradeClassifier(estimator, Calibration(0.0, 1.0, 1.0))
    ModelStore(tmp_path, tmp_path / "state").publish(
        card | {"versions": versions()}, classifier, scaler, table, rows, serve=True
    )
    card = ModelStore(tmp_path).card(card["stamp"])
    excess = by_day(traded(table, 0.65, 10), "excess", table["session"].unique())
    learnt = read_learnt(tmp_path, card)
    assert learnt.excess == pytest.approx(excess)
    assert excess.any()
    (tmp_path / f"out_of_fold_{card['stamp']}.parquet").unlink()
    assert read_learnt(tmp_path, card).excess is None


# --- a card ----------------------------------------------------------------------------------------------------------


def test_each_figure_stands_beside_what_it_has_to_beat() -> None:
    excess = np.array([0.01, 0.03] * 6)  # mean 2%, standard deviation 1.0445%, over the root of 12: 0.3015%
    rows = {(name, beside_what): figures for name, *figures, beside_what in judged(CARD, excess)}
    always = "saying the share that paid at every minute; lower is better"  # 0.42: 0.42 x 0.58, and its entropy
    assert rows == {
        ("AUC, mean over days", "chance"): ["0.618", "0.024", "0.500"],
        ("calibration error", "even exact probabilities, on so few days; once in twenty times above 0.090"): [
            "0.048", "-", "0.061",
        ],
        ("Brier score", always): ["0.246", "-", "0.244"],
        ("log loss", always): ["0.685", "-", "0.680"],
        ("paid at 0.65 or above", "all rows, of which 1,260 reached 0.65"): ["62.50%", "-", "42.00%"],
        ("net return per trade", "buying at every minute"): ["+1.48%", "-", "-0.04%"],
        ("net return per trade", "other entries of the same days and half hours"): ["+1.48%", "-", "+0.21%"],
        (
            "net return per trade",
            "the same trades, each bought one minute bar later; a profit that vanishes then does not count as skill",
        ): ["+1.48%", "-", "+1.21%"],
        (
            "net return per day",
            "random entries, as many a day: nine of ten earn -2.00% to +1.65%, 97% earn less",
        ): ["+1.20%", "0.40%", "-0.20%"],
        ("margin per day", "above entries of the same half hours; 0 is no skill in choosing the minute"): [
            "+2.00%", "0.30%", "+0.00%",
        ],
        ("net return of 12 days", "buying and holding all symbols, with the money of 10 positions"): [
            "+1.44%", "-", "-0.88%",  # 12 days of 1.2% of one position, of ten
        ],
    }  # fmt: skip


def test_without_a_trade_the_figures_are_not_known_and_no_error() -> None:
    unknown = ("net_return_per_trade", "one_bar_later_per_trade", "excess_per_trade", "random_mean", "random_low")
    silent = dict.fromkeys((*unknown, "random_high", "random_beaten")) | {"trades": 0, "daily": 0.0}
    rows = judged(CARD | {"money": CARD["money"] | silent}, None)
    assert [row[1:4] for row in rows if row[0] == "net return per trade"] == [
        ("-", "-", "-0.04%"), ("-", "-", "-"), ("-", "-", "-"),
    ]  # fmt: skip
    assert [row[1:3] for row in rows if row[0] == "margin per day"] == [("-", "-")]


def test_trials_say_what_the_sharpe_ratio_is_worth_after_so_many() -> None:
    assert trials(CARD) == (
        "Sharpe ratio 0.86 a day, standard error 0.23. Whoever tries 2 configurations that trade (of 3 judged so far) "
        "finds a good-looking one by luck alone. The chance that this one is better than such a lucky find is 91.00% "
        "(deflated Sharpe ratio)."
    )
    assert trials(CARD | {"trials": CARD["trials"] | {"count": 1, "traded": 1}}) == (
        "Sharpe ratio 0.86 a day, standard error 0.23. The chance that it is above what luck alone shows is 91.00% "
        "(deflated Sharpe ratio)."
    )


def test_where_a_model_comes_from_says_how_much_was_chosen_by_hindsight() -> None:
    assert dict(origin(CARD))["symbols chosen"] == (
        "4 of 22 sessions trained on as listed that day, 81% of the examples still chosen by hindsight (today's list)"
    )
    assert dict(origin(EARLIER_CARD)) == {
        "model": "random_forest 20260227_200000",
        "trained on": "2026-01-29 09:30 to 2026-02-27 16:00 New York, 1 symbol",
        "rows": "93,637, worth 426 independent ones",
    }


@pytest.mark.parametrize(
    ("profitable", "low", "high", "words"),
    [
        (0.6, 0.5, 0.7, "as promised"),
        (0.49, 0.5, 0.7, "less than promised"),
        (0.71, 0.5, 0.7, "more than promised"),
        (0.6, None, None, "too few days"),
        (0.6, 0.0, 1.0, "too few days"),
    ],
)
def test_a_confidence_kept_its_promise_where_an_exact_one_would_lie(
    profitable: float, low: float | None, high: float | None, words: str
) -> None:
    assert as_promised({"profitable": profitable, "low": low, "high": high}) == words


def test_a_card_of_an_earlier_version_names_the_cure() -> None:
    assert as_promised(EARLIER_CARD["calibration"]["table"][0]) == "too few days"
    assert publication(EARLIER_CARD) == "yes: the reason was not kept"
    earlier = replace(NOTHING, card=EARLIER_CARD)
    assert "earlier version and does not tell. Run: python ml_trainer.py" in earlier.verdict_would_change()
    assert NOTHING.verdict_would_change() == "There is no model to judge."


def importances(**lost: float | None) -> dict[str, Any]:
    rows = [{"feature": name, "permutation": value, "standard_error": 0.001} for name, value in lost.items()]
    return CARD | {"features": list(lost), "importances": rows}


def test_the_six_most_important_features_are_shown_and_those_to_be_removed() -> None:
    lost = {f"f{i}": 0.01 * i for i in range(1, 9)} | {"useless": -0.01, "not_known": None}
    cards = [importances(**{name: value for name, value in lost.items() if value is not None})] * 5
    learnt = replace(NOTHING, cards=[EARLIER_CARD | {"importances": []}, *cards])
    assert learnt.shown_features() == ["f8", "f7", "f6", "f5", "f4", "f3", "useless"]
    assert replace(NOTHING, cards=[importances(**lost)]).shown_features() == ["f8", "f7", "f6", "f5", "f4", "f3"]


# --- in few words ----------------------------------------------------------------------------------------------------


def test_the_terminal_names_light_costs_followed_trades_verification_and_features() -> None:
    cards = [importances(rsi_14=0.1, return_1=-0.1, return_5=-0.2, return_15=-0.3)] * 5
    assert terminal_lines(replace(reviewed(), cards=cards)) == [
        ("drift", "amber (features)"),
        ("costs", "NVDA +0.42%; 1 signal turned down"),
        ("not made", "54 ended, 4 open; shadow trades would have shown skill"),
        ("verified", "4,601 of 4,668 predictions agree, 3 decisions flipped"),
        ("features", "consider removing return_1, return_5 and 1 more"),
    ]


def test_the_terminal_is_calm_where_nothing_was_learnt() -> None:
    drift = {"light": None, "words": "no model served", "parts": {}, "features": []}
    followed = REVIEW["followed"] | {"evidence": {"shadow": {"holds": False, "reason": "too few"}}}
    calm = reviewed(drift=drift, costs=[], turned_down=[], followed=followed, verification=None)
    assert terminal_lines(calm) == [
        ("drift", "not known"),
        ("costs", "as assumed; 0 signals turned down"),
        ("not made", "54 ended, 4 open; neither kind would have shown skill"),
    ]
    shown = {kind: {"holds": True, "reason": "skill shown"} for kind in ("shadow", "not taken")}
    both = reviewed(followed=REVIEW["followed"] | {"evidence": shown})
    assert ("not made", "54 ended, 4 open; both kinds would have shown skill") in terminal_lines(both)
    assert terminal_lines(NOTHING) == [("review", "none yet, an evening makes one")]


def test_the_terminal_block_has_at_most_six_lines_of_80_columns(tmp_path: Path) -> None:
    books = BooksOnDisk(settings_in(tmp_path))
    books.write()
    dear = [REVIEW["costs"][1] | {"symbol": f"BRK.{n:02}", "extra_cost": 0.1234} for n in range(12)]
    parts = {name: {"light": "red", "words": "far off"} for name in ("features", "signals", "calibration")}
    books.review(
        REVIEW
        | {
            "costs": dear,
            "turned_down": REVIEW["turned_down"] * 123,
            "drift": REVIEW["drift"] | {"light": "red", "parts": parts},
            "followed": REVIEW["followed"] | {"settled": 123_456, "waiting": 1_234},
            "verification": REVIEW["verification"] | {"compared": 39_000, "agree": 38_999, "flips": {"late bar": 123}},
        }
    )
    card = importances(bollinger_position=-0.1, sma_240_deviation=-0.1, return_1=-0.1)
    books.train(*(card | {"stamp": f"2026021{i}_200000"} for i in range(5)))
    lines = books.terminal(width=80).split("\nlearnt\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == ["drift", "costs", "not", "verified", "features"]


def test_the_summary_is_strict_json_of_the_newest_review() -> None:
    told = json.loads(to_json(summary(reviewed())))
    assert told["review"]["drift"] == {"light": "amber", "words": REVIEW["drift"]["words"]}
    assert told["review"]["extra_costs"] == {"NVDA": 0.0042}
    assert told["review"]["verification"] == {
        "compared": 4668, "agree": 4601, "flips": {"revised bar": 2, "equal features": 1},
    }  # fmt: skip
    assert (told["review"]["turned_down"], told["signals_turned_down"]) == (1, 1)
    assert told["review"]["followed"] == REVIEW["followed"]
    assert json.loads(to_json(summary(NOTHING))) == {
        "review": None, "signals_turned_down": 0, "verdict_would_change": "There is no model to judge.",
        "consider_removing": [],
    }  # fmt: skip
    assert summary(reviewed(verification=None))["review"]["verification"] is None


def test_signals_turned_down_are_counted_over_all_reviews() -> None:
    twice = [REVIEW, REVIEW | {"turned_down": REVIEW["turned_down"] * 3}]
    assert replace(NOTHING, reviews=twice).turned_down() == 4
