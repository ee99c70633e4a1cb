"""The page's sections about learning: what was learnt, from what, how well it holds, what would change the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from display.figures import NOTHING, number, percent, plural
from display.learnt import (
    EARLIER_VERSION,
    Card,
    Learnt,
    as_promised,
    by_cost,
    costs_in_words,
    judged,
    origin,
    publication,
    trials,
    verdict,
)
from display.markup import facts, note, stressed, subheading, table
from display.plots import bar, series, span
from learning.followed import NAME_OF
from learning.importances import MIN_MODELS
from learning.reviews import Review

SHOWN_MODELS = 30  # in the plots of importances
COLUMNS_OF_MODELS = 5  # beside the plots
SHOWN_SHIFTS = 5

_IMPORTANCES = "How much AUC is lost when a feature is shuffled. At 0 or below the model does as well without it."
_SPAN = (
    "The plot is an axis from 0 to 1: the line is the confidence, the dot the share that paid, the grey band where the "
    "dot would fall nine times in ten if the confidence were exact. The band is wide because the trades of a day tend "
    "to rise or fall together."
)
_LIGHTS = {"green": "●", "amber": "▲", "red": "■"}  # shapes, for those who do not see colours apart
_NO_REVIEW = "No evening has been reviewed yet: that comes after the close, before the training."
_DRIFT = (
    "How far today's market is from the days that the model learnt from: its features, how often a confidence reaches "
    "the threshold, and how confident it was of trades that have settled since. The light is the worst of the three."
)
_FOLLOWED = (
    "Shadow trades are the ones a lower threshold would have made; signals not taken are those that a rule stopped. "
    "Both are followed to their end as if they had been made. Like a model they show skill where, with 95% confidence, "
    "their days earn more than 0 after cost, and more than other entries of the same half hours."
)
_VERIFIED = "The day's predictions, made once more from the bars that the day has in the end."


def learning_sections(learnt: Learnt, no_model: str) -> dict[str, Iterable[str]]:
    """What stands under each heading, in order; `no_model` says why there is no model in use, where there is none."""
    card, review = learnt.card, learnt.review
    return {
        "Can it be believed": _verdict(learnt, card) if card else [note(no_model)],
        "What a confidence meant": _calibration(card) if card else [note(no_model)],
        "What outcomes taught": _outcomes(learnt, review) if review else [note(_NO_REVIEW)],
        "Drift": _drift(learnt, review) if review else [note(_NO_REVIEW)],
        "Verified live": _verified(review) if review else [note(_NO_REVIEW)],
        "Models": _models(learnt),
        "Importances over models": _importances(learnt),
    }


# --- the model in use ------------------------------------------------------------------------------------------------


def _verdict(learnt: Learnt, card: Card) -> Iterable[str]:
    yield facts(
        [
            ("verdict", stressed(verdict(card), f": {card['reason']}")),
            ("would change it", learnt.verdict_would_change()),
            ("published", publication(card)),
            *origin(card),
        ],
        "about",
    )
    if "money" not in card:
        yield note(EARLIER_VERSION)
        return
    yield subheading(f"On {plural(card['judged_sessions'], 'day')} it had not seen")
    head = ("measure", "#this model", "#standard error", "#beside it", "which is that of")
    yield table("On days it had not seen", head, judged(card, learnt.excess))
    yield note(
        "Returns are after cost, of a position; a day sums its trades, and days without one count 0. The trades are "
        f"what one account could have made: one a symbol, {plural(card['max_open_positions'], 'position')} at most."
    )
    yield note(trials(card))


def _calibration(card: Card) -> Iterable[str]:
    rows = card.get("calibration", {}).get("table", [])
    if not rows:
        yield note("No row of a later day was judged.")
        return
    most = max(rows, key=lambda r: r["rows"])
    meant = f"{number(most['confidence'])} meant that {percent(most['profitable'])} of {most['rows']:,} rows"
    even = number(card["baseline"]["break_even_confidence"])
    yield note(
        f"To be read so: a confidence around {meant} were profitable. Trades of a confidence of {even} earn nothing "
        "(break-even). All on days that the model had not seen."
    )
    yield table(
        "Calibration",
        ("#mean confidence", "#profitable, %", "#if exact, %", "#of rows", "so", "plot"),
        [
            (number(r["confidence"]), percent(r["profitable"]), _to(r.get("low"), r.get("high")), f"{r['rows']:,}",
             as_promised(r), span(r["confidence"], r["profitable"], r.get("low"), r.get("high")))
            for r in rows
        ],
    )  # fmt: skip
    yield note(_SPAN)


def _to(low: float | None, high: float | None) -> str:
    return NOTHING if low is None else f"{percent(low)} to {percent(high)}"


# --- the evenings ----------------------------------------------------------------------------------------------------


def _outcomes(learnt: Learnt, review: Review) -> Iterable[str]:
    yield subheading("What fills cost")
    if review["costs"]:
        yield note(costs_in_words(learnt, review))
        rows = [(c["symbol"], percent(c["extra_cost"]), c["words"]) for c in by_cost(review)]
        yield table("Learnt costs", ("symbol", "#a round trip counts more", "what was measured"), rows)
    else:
        yield note("No fill of the last weeks could be measured yet.")
    if review["turned_down"]:
        rows = [(s["timestamp"][11:16], s["symbol"], s["reason"]) for s in review["turned_down"]]
        yield subheading(f"Turned down on {review['session']}, times New York")
        yield table("Signals turned down", ("at", "symbol", "why"), rows)
    yield subheading("Trades that were not made, followed all the same")
    yield note(_FOLLOWED)
    followed = review["followed"]
    yield facts(
        [
            *((NAME_OF[kind], evidence["reason"]) for kind, evidence in followed["evidence"].items()),
            ("followed so far", f"{followed['settled']:,} ended, {followed['waiting']:,} open"),
        ],
        "about",
    )
    yield subheading("Win rates by confidence, of trades made and of those not taken")
    if not review["win_rates"]:
        yield note("No trade has closed yet.")
        return
    rows = [
        (f"{number(r['low'])} to {number(r['high'])}", number(r["correction"], digits=3), r["words"])
        for r in review["win_rates"]
    ]
    yield table("Win rates", ("confidence", "#correction", "what was measured"), rows)


def _drift(learnt: Learnt, review: Review) -> Iterable[str]:
    drift = review["drift"]
    yield facts([(f"on {review['session']}", f"{_light(drift['light'])}: {drift['words']}")], "about")
    yield note(_DRIFT)
    if drift["parts"]:
        parts = [(name, _light(part["light"]), part["words"]) for name, part in drift["parts"].items()]
        yield table("Three lights", ("part", "light", "why"), parts)
    if drift["features"]:
        most = drift["features"][:SHOWN_SHIFTS]
        yield subheading(f"The {len(most)} most shifted of {len(drift['features'])} features")
        rows = [(s["feature"], number(s["psi"], digits=3), number(s["level"], digits=3),
                 "unusual" if s["psi"] > s["level"] else "usual") for s in most]  # fmt: skip
        yield table("Shifts", ("feature", "#population stability index", "#usually below", "so"), rows)
    yield subheading("The light, evening by evening")
    evenings = [(r["session"], _light(r["drift"]["light"]), r["drift"]["words"]) for r in reversed(learnt.reviews)]
    yield table("Drift, newest first", ("session", "light", "why"), evenings)


def _light(light: str | None) -> str:
    return f"{_LIGHTS[light]} {light}" if light else "not known"


def _verified(review: Review) -> Iterable[str]:
    found = review["verification"]
    yield note(_VERIFIED)
    if found is None:
        yield note(f"{review['session']} left nothing to compare with: a replay predicts from the final bars itself.")
        return
    yield note(f"{review['session']}: {found['words']}.")
    differing = sorted((f for f in found["features"] if f["rows"]), key=lambda f: -f["rows"])
    if differing:
        rows = [(f["feature"], f"{f['rows']:,}", percent(f["median"]), percent(f["largest"])) for f in differing]
        head = ("feature", "#predictions", "#difference, median", "#largest")
        yield table("Features that differed", head, rows)
    if found["causes"] or found["flips"]:
        causes = [
            (cause, f"{found['causes'].get(cause, 0):,}", f"{found['flips'].get(cause, 0):,}")
            for cause in {**found["causes"], **found["flips"]}
        ]
        yield table("Why they differed", ("cause", "#predictions", "#decisions flipped"), causes)


# --- all models ------------------------------------------------------------------------------------------------------


def _models(learnt: Learnt) -> Iterable[str]:
    if not learnt.cards:
        yield note("No model has been trained yet.")
    else:
        using = learnt.card["stamp"] if learnt.card else None
        rows = [
            (
                f"{c['stamp']}{' (in use)' if c['stamp'] == using else ''}",
                _auc(c),
                f"{verdict(c)}: {c['reason']}",
                publication(c),
            )
            for c in reversed(learnt.cards)
        ]
        yield table("Models, newest first", ("model", "#AUC", "skill", "published"), rows)
    if learnt.unreadable:
        yield note(f"Cards that cannot be read: {', '.join(learnt.unreadable)}.")


def _auc(card: Card) -> str:
    scores = card.get("scores", {})
    error = scores.get("auc_standard_error")
    return number(scores.get("auc"), digits=3) + ("" if error is None else f" ± {number(error, digits=3)}")


def _importances(learnt: Learnt) -> Iterable[str]:
    cards = learnt.judged_cards()[-SHOWN_MODELS:]
    if not cards:
        yield note("No model with importances is there yet.")
        return
    yield note(_IMPORTANCES)
    if removable := learnt.consider_removing():
        yield note(
            f"Consider removing: {', '.join(removable)} (LEFT_OUT_FEATURES). On average the newest models lost nothing "
            "without them. Two features that say the same both look so: leave one out, train, and look again."
        )
    elif len(cards) < MIN_MODELS:
        yield note(f"{plural(len(cards), 'model')} so far; from {MIN_MODELS} on, features that earn nothing are named.")
    else:
        yield note("Every feature has earned its place, on average over the newest models.")
    yield _over_models(learnt.shown_features(), cards)
    yield subheading(f"Importances of the {len(cards[-1]['importances'])} features in model {cards[-1]['stamp']}")
    yield _of_model(cards[-1]["importances"])


def _over_models(features: Sequence[str], cards: Sequence[Card]) -> str:
    tables = [{row["feature"]: row for row in card["importances"]} for card in cards]
    lost = {name: [table.get(name, {}).get("permutation") for table in tables] for name in features}
    errors = {name: [table.get(name, {}).get("standard_error") for table in tables] for name in features}
    ends = [
        value + sign * (error or 0.0)
        for name in features
        for value, error in zip(lost[name], errors[name], strict=True)
        if value is not None
        for sign in (-1, 1)
    ]
    low, high = min([0.0, *ends]), max([0.001, *ends])
    newest = slice(-COLUMNS_OF_MODELS, None)
    rows = [
        (name, series(lost[name], errors[name], low, high),
         *(number(value, sign="+", digits=4) for value in lost[name][newest]))
        for name in features
    ]  # fmt: skip
    head = ("feature", "AUC lost, oldest model left", *(f"#{_when(card)}" for card in cards[newest]))
    scale = f"All plots have one scale, {number(low, sign='+', digits=3)} to {number(high, sign='+', digits=3)}"
    return table("AUC lost without a feature, by model", head, rows) + note(
        f"{scale}; the line across is 0, and each upright line one standard error to either side. "
        f"{plural(len(cards), 'model')}, the columns are the newest."
    )


def _when(card: Card) -> str:
    day, time = card["stamp"].split("_")
    return f"{day[4:6]}-{day[6:]} {time[:2]}:{time[2:4]}"


def _of_model(importances: Sequence[Mapping[str, Any]]) -> str:
    lost = [row["permutation"] or 0.0 for row in importances]
    low, high = min([0.0, *lost]), max([0.0, *lost])
    scale = 100 / (high - low) if high > low else 0.0
    rows = [
        (row["feature"], number(row["permutation"], sign="+", digits=4), number(row.get("standard_error"), digits=4),
         number(row["impurity"], digits=3), bar((min(value, 0.0) - low) * scale, abs(value) * scale))
        for row, value in zip(importances, lost, strict=True)
    ]  # fmt: skip
    head = ("feature", "#AUC lost", "#standard error", "#impurity", "AUC lost, as a bar")
    return table("Importances", head, rows)
