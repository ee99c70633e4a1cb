"""The card of a model: everything that a person must know to trust it or not, in strict JSON and on the screen."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from trading import settings_in

from config import Settings
from display.figures import percent
from display.learnt import trials
from durable import to_json
from learning.classifier import calibrate
from learning.evaluation import WalkForward, walk_forward
from learning.money import traded
from learning.verdicts import Verdict
from market.hours import at_new_york, sessions_between
from model_card import Training, days_of, days_of_rows, make_card, show

SESSIONS = sessions_between(date(2026, 2, 2), date(2026, 2, 19))  # 13
NOW = at_new_york(SESSIONS[-1].day, "20:00")
FEATURES = ["planted", "none", "session_elapsed"]
HOLDING = 60
ABOUT = {
    "market": "recorded",
    "feed": "recorded",
    "selection": {"chosen": "symbols", "sessions": 13, "sessions_listed": 0, "by_hindsight": 0.0},
}
STAMP = "20260219_200000"
TRIALS = {"count": 3, "traded": 2, "sharpe": 0.4211, "standard_error": 0.1507, "deflated": 0.8704}


def made_examples() -> pd.DataFrame:
    """Decisions every five minutes, settled an hour later; `planted` follows the label."""
    rng = np.random.default_rng(3)
    minutes = pd.DatetimeIndex([s.open + pd.Timedelta(minutes=m) for s in SESSIONS for m in range(s.minutes)])
    decided = np.arange(0, len(minutes) - HOLDING - 1, 5)
    parts = []
    for symbol in ("BBB", "AAA"):
        label = (rng.random(len(decided)) < 0.45).astype(float)
        part = pd.DataFrame({"symbol": symbol, "timestamp": minutes[decided], "label": label})
        part["planted"] = label + rng.normal(0, 0.7, len(decided))
        part["none"] = rng.normal(size=len(decided))
        part["session_elapsed"] = decided % 390 / 390
        part["net_return"] = np.where(label == 1, 0.012, -0.008)
        part["driftless"] = 0.5
        part["close"] = 100 * np.exp(0.001 * rng.normal(size=len(decided)).cumsum())
        part["settled_at"] = minutes[decided + 1 + HOLDING] + pd.Timedelta(minutes=1)
        parts.append(part)
    return pd.concat(parts, ignore_index=True).sort_values(["symbol", "timestamp"], ignore_index=True)


@dataclass(frozen=True)
class Judged:
    """What a card is made of."""

    examples: pd.DataFrame
    judgement: WalkForward
    settings: Settings

    def card(self, about: dict[str, Any] = ABOUT, **changes: object) -> dict[str, Any]:
        settings = replace(self.settings, **changes)
        card = make_card(about, self.examples, FEATURES, 321.4, self.judgement, settings, NOW)
        return card | {"stamp": STAMP, "trials": TRIALS, "consider_removing": []}

    def shown(self, *, published: bool = True, **more: object) -> str:
        """What the screen says of the card, with some of its keys changed."""
        training = Training(
            self.card() | more,
            Verdict(published, "because of this"),
            Verdict(False, "too few signals: 7"),
            {"model": Path("models/model_x.pkl"), "card": Path("models/card_x.json")},
        )
        console = Console(file=io.StringIO(), width=200, highlight=False)
        show(training, console)
        return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("learning.classifier.TREES", 30)
        patch.setattr("learning.importances.ROWS_A_DAY", 60)
        examples = made_examples()
        *_, judgement = walk_forward(examples, FEATURES, "random_forest", HOLDING)
        assert isinstance(judgement, WalkForward)
        yield Judged(examples, judgement, settings_in(tmp_path_factory.mktemp("card"), MIN_CONFIDENCE=0.6))


# --- the card -------------------------------------------------------------------------------------------------------


def test_a_card_is_strict_json_and_comes_back_as_it_was(judged: Judged) -> None:
    card = judged.card()
    assert json.loads(to_json(card)) == card


def test_a_card_says_what_was_learnt_from_under_which_settings(judged: Judged) -> None:
    card, examples = judged.card(), judged.examples
    assert (card["model_type"], card["market"], card["feed"]) == ("random_forest", "recorded", "recorded")
    assert card["selection"] == ABOUT["selection"]
    assert card["symbols"] == ["AAA", "BBB"]
    assert (card["rows"], card["independent_rows"]) == (len(examples), 321)
    assert card["sessions"] == 13
    assert pd.Timestamp(card["train_start"]) == examples["timestamp"].min()
    assert pd.Timestamp(card["train_end"]) == examples["settled_at"].max()
    assert card["as_of"] == NOW.isoformat()
    assert card["features"] == FEATURES
    assert card["trade_rules"] == judged.settings.trade_rules()
    assert (card["min_confidence"], card["max_open_positions"]) == (0.6, 10)
    assert set(card["versions"]) >= {"python", "scikit-learn", "numpy"}


def test_scores_money_and_baselines_are_of_the_days_that_were_judged(judged: Judged) -> None:
    card, rows = judged.card(), judged.judgement.judged
    assert len(rows) < len(judged.judgement.table) < len(judged.examples)
    assert card["judged_sessions"] == rows["session"].nunique()
    trades = traded(rows, 0.6, 10)
    assert len(trades) > 20
    assert (card["money"]["trades"], card["money"]["days"]) == (len(trades), card["judged_sessions"])
    assert card["money"]["net_return_per_trade"] == pytest.approx(trades["net_return"].mean())
    assert card["money"]["one_bar_later_per_trade"] == pytest.approx(trades["later_net_return"].mean())
    assert card["scores"]["signals"] == (rows["confidence"] >= 0.6).sum()
    assert card["scores"]["brier"] == pytest.approx(((rows["confidence"] - rows["label"]) ** 2).mean())
    assert card["scores"]["ece_perfect"] < card["scores"]["ece_perfect_high"]
    prices = rows.sort_values("timestamp").groupby("symbol")["close"].agg(["first", "last"])
    assert card["baseline"] == pytest.approx(
        {
            "share_profitable": rows["label"].mean(),
            "always_buy_net_return": rows["net_return"].mean(),
            "hold_net_return": (prices["last"] / prices["first"]).mean() - 1 - 0.0006,
            "break_even_confidence": 0.4,  # a loss of 0.008 against 0.012
        }
    )


def test_one_account_of_fewer_positions_earns_other_money(judged: Judged) -> None:
    one, many = judged.card(MAX_OPEN_POSITIONS=1), judged.card()
    assert one["money"]["trades"] < many["money"]["trades"]
    assert one["scores"] == many["scores"]


def test_signals_are_counted_at_lower_thresholds_too(judged: Judged) -> None:
    counts, confidence = judged.card()["signals_at"], judged.judgement.judged["confidence"]
    assert counts == {f"{level:.2f}": (confidence >= level).sum() for level in (0.6, 0.55, 0.5)}
    assert counts["0.60"] < counts["0.50"]


def test_the_calibration_is_the_one_that_the_model_takes_along_with_its_table(judged: Judged) -> None:
    calibration, table = judged.card()["calibration"], judged.judgement.table
    score, label, share = (table[name].to_numpy() for name in ("score", "label", "uniqueness"))
    expected = calibrate(score, label, share, 0.5).record()  # the driftless share of these examples
    assert {key: value for key, value in calibration.items() if key != "table"} == expected
    assert sum(row["rows"] for row in calibration["table"]) == len(judged.judgement.judged)
    for row in calibration["table"]:
        if row["low"] is not None:
            assert 0 <= row["low"] <= row["confidence"] <= row["high"] <= 1


def test_importances_come_most_important_first_and_what_is_not_measured_is_none(judged: Judged) -> None:
    rows = judged.card()["importances"]
    assert rows[0]["feature"] == "planted"
    assert [row["permutation"] for row in rows] == sorted((row["permutation"] for row in rows), reverse=True)
    unknown = judged.judgement.importances.assign(impurity=np.nan, standard_error=np.nan)
    without = replace(judged, judgement=replace(judged.judgement, importances=unknown)).card()["importances"]
    assert all(row["impurity"] is None and row["standard_error"] is None for row in without)
    assert [row["permutation"] for row in without] == [row["permutation"] for row in rows]


def test_the_usual_of_days_is_kept_for_judging_drift(judged: Judged) -> None:
    drift, rows = judged.card()["drift"], judged.judgement.judged
    assert drift["features"]["days"] + drift["features"]["short_days"] == 13
    assert set(drift["features"]["features"]) == {"planted", "none"}  # the time of day does not drift
    by_day = rows.groupby("session")
    np.testing.assert_allclose(drift["signal_rates"], [(day["confidence"] >= 0.6).mean() for _, day in by_day])
    np.testing.assert_allclose(drift["gaps"], [(day["confidence"] - day["label"]).mean() for _, day in by_day])


def test_days_are_new_yorks() -> None:
    late = pd.DataFrame({"timestamp": pd.DatetimeIndex(["2026-02-03T01:00Z", "2026-02-03T15:00Z"])})
    assert days_of_rows(late).tolist() == [date(2026, 2, 2), date(2026, 2, 3)]
    assert days_of(pd.concat([late, late])).tolist() == [date(2026, 2, 2), date(2026, 2, 3)]


def test_a_silent_model_has_a_card_too(judged: Judged) -> None:
    card = judged.card(MIN_CONFIDENCE=0.999)
    assert json.loads(to_json(card)) == card
    assert (card["scores"]["signals"], card["money"]["trades"]) == (0, 0)
    assert card["money"]["net_return_per_trade"] is None


# --- on the screen --------------------------------------------------------------------------------------------------


def lines(text: str) -> dict[str, str]:
    """The lines of a text by how they begin."""
    return {line.strip().split("  ")[0]: line.strip() for line in text.splitlines()}


def test_the_screen_shows_scores_and_money_with_their_errors_beside_what_needs_no_skill(judged: Judged) -> None:
    card, shown = judged.card(), lines(judged.shown())
    s, m = card["scores"], card["money"]
    assert f"{s['auc']:.3f}" in shown["AUC, mean over days"]
    assert f"standard error {s['auc_standard_error']:.3f}; 0.5 is chance" in shown["AUC, mean over days"]
    luck = (
        f"exact probabilities show about {s['ece_perfect']:.3f}, once in twenty times above {s['ece_perfect_high']:.3f}"
    )
    assert f"{s['ece']:.3f}" in shown["calibration error"]
    assert luck in shown["calibration error"]
    assert "0.40" in shown["break-even confidence"]
    assert f"{m['net_return_per_trade']:+.2%}" in shown["net return per trade"]
    assert f"{m['trades']} trades on {m['days_traded']} days, after cost" in shown["net return per trade"]
    assert percent(m["one_bar_later_per_trade"], "+") in shown["entered one bar later"]
    assert f"{m['excess_per_trade']:+.2%}" in shown["above other entries"]
    assert f"standard error {m['daily_standard_error']:.2%}" in shown["net return per day"]
    assert f"nine of ten accounts earn {m['random_low']:+.2%} to {m['random_high']:+.2%}" in shown["random entries"]
    assert f"{card['baseline']['hold_net_return']:+.2%}" in shown["buying and holding"]


def test_the_screen_shows_what_each_confidence_meant(judged: Judged) -> None:
    text = judged.shown()
    rows = judged.card()["calibration"]["table"]
    for row in rows:
        assert f"{row['confidence']:.2f}" in text
        assert f"{row['low']:.0%} to {row['high']:.0%}" in text
    single = judged.card()["calibration"] | {"table": [rows[0] | {"low": None, "high": None, "rows": 7}]}
    line = next(line for line in judged.shown(calibration=single).splitlines() if line.split()[-1:] == ["7"])
    assert line.split() == [f"{rows[0]['confidence']:.2f}", f"{rows[0]['profitable']:.0%}", "-", "7"]


def test_thresholds_are_named_only_where_they_are_lower(judged: Judged) -> None:
    counts = judged.card()["signals_at"]
    assert f"rows at lower thresholds: {counts['0.55']:,} at 0.55, {counts['0.50']:,} at 0.50" in judged.shown()
    assert "rows at lower thresholds: none is lower" in judged.shown(min_confidence=0.5)


def test_a_model_that_does_not_serve_ends_with_the_line_that_lets_it(judged: Judged) -> None:
    text = judged.shown(published=False)
    assert "published: no - because of this" in text
    assert "proven: no - too few signals: 7" in text
    assert f"to use it all the same: python ml_trainer.py --use {STAMP}" in text
    assert "--use" not in judged.shown()
    assert "published: yes - because of this" in judged.shown()
    assert "files: model_x.pkl, card_x.json in models" in text


def test_how_often_it_was_tried_stands_beside_the_sharpe_ratio(judged: Judged) -> None:
    assert trials(judged.card()) in " ".join(judged.shown().split())


def test_choice_by_hindsight_and_features_of_no_use_are_named_only_where_there_are_any(judged: Judged) -> None:
    plain = judged.shown()
    assert "hindsight" not in plain
    assert "consider removing" not in plain
    text = judged.shown(selection={"by_hindsight": 0.625}, consider_removing=["none", "other"])
    assert "62.50% of the examples were chosen by hindsight" in text
    assert "consider removing (LEFT_OUT_FEATURES): none, other" in text


def test_what_is_not_known_is_a_dash_and_never_a_nan(judged: Judged) -> None:
    silent = judged.card(MIN_CONFIDENCE=0.999)
    text = judged.shown(**silent | {"trials": dict.fromkeys(TRIALS) | {"count": 1, "traded": 0}})
    assert "nan" not in text.lower()
    assert "None" not in text
    assert lines(text)["net return per trade"].split("  ")[-1].strip() == "0 trades on 0 days, after cost"
    assert " - " in lines(text)["entered one bar later"]
