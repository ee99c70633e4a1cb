"""What was learnt, from what, and how well it holds: cards and reviews as figures and words, for page and terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from display.figures import NOTHING, minute, number, percent, plural
from display.outlook import mean_and_error, what_would_change
from learning.followed import NAME_OF
from learning.importances import consider_removing
from learning.model_store import ModelStore, NoModel
from learning.money import by_day, traded
from learning.reviews import Review, Reviews
from market.active_list import SOURCE, SYMBOLS
from market.hours import NEW_YORK

Card = Mapping[str, Any]

EARLIER_VERSION = "This card was made by an earlier version and does not tell. Run: python ml_trainer.py"
NAMED = 2  # symbols or features named in a line of the terminal
MOST_IMPORTANT = 6


@dataclass(frozen=True)
class Learnt:
    """What is on disk of what was learnt: the card of the model in use (None without one), all cards and all reviews,
    oldest first, and the stamps whose card cannot be read.

    `excess` (days,) is the daily net return above matched entries by which the model in use was judged; None where its
    out-of-fold predictions are gone.
    """

    card: Card | None
    cards: Sequence[Card]
    unreadable: Sequence[str]
    reviews: Sequence[Review]
    excess: NDArray[np.float64] | None

    @property
    def review(self) -> Review | None:
        """The newest."""
        return self.reviews[-1] if self.reviews else None

    def judged_cards(self) -> list[Card]:
        """The cards with importances, oldest first."""
        return [card for card in self.cards if card.get("importances")]

    def consider_removing(self) -> list[str]:
        """Features that the newest models could have done without."""
        return consider_removing(self.judged_cards())

    def shown_features(self) -> list[str]:
        """The most important ones of the newest model, and those that are named for removal."""
        newest = self.judged_cards()[-1]["importances"]
        ranked = sorted((row for row in newest if row["permutation"] is not None), key=lambda row: -row["permutation"])
        return list(dict.fromkeys([row["feature"] for row in ranked[:MOST_IMPORTANT]] + self.consider_removing()))

    def turned_down(self) -> int:
        """Signals that were turned down for a learnt cost, in all reviews."""
        return sum(len(review["turned_down"]) for review in self.reviews)

    def verdict_would_change(self) -> str:
        """What would change the verdict on the model in use."""
        if self.card is None:
            return "There is no model to judge."
        return what_would_change(self.card, self.excess) if "money" in self.card else EARLIER_VERSION


def read_learnt(models: Path, card: Card | None) -> Learnt:
    """What the folder `models` holds; `card` is that of the model in use."""
    store = ModelStore(models)
    cards = store.cards()
    unreadable = sorted(set(store.stamps()) - {each["stamp"] for each in cards})
    excess = _excess(store, card) if card is not None and "money" in card else None
    return Learnt(card, cards, unreadable, Reviews(models / "reviews").all(), excess)


def _excess(store: ModelStore, card: Card) -> NDArray[np.float64] | None:
    try:
        judged = store.out_of_fold(card["stamp"])
    except NoModel:
        return None
    trades = traded(judged, card["min_confidence"], card["max_open_positions"])
    return by_day(trades, "excess", judged["session"].unique())


# --- figures of a card -----------------------------------------------------------------------------------------------


def verdict(card: Card) -> str:
    """The verdict on skill."""
    return "proven" if card["proven"] else "unproven"


def publication(card: Card) -> str:
    """Whether the model was published, with the reason."""
    return f"{'yes' if card['published'] else 'no'}: {card.get('publish_reason', 'the reason was not kept')}"


def origin(card: Card) -> list[tuple[str, str]]:
    """Where a model comes from, from its card."""
    start, end = (minute(pd.Timestamp(card[at]).tz_convert(NEW_YORK)) for at in ("train_start", "train_end"))
    facts = [
        ("model", f"{card['model_type']} {card['stamp']}"),
        ("trained on", f"{start} to {end} New York, {plural(len(card['symbols']), 'symbol')}"),
        ("rows", f"{card['rows']:,}, worth {card['independent_rows']:,} independent ones"),
    ]
    return [*facts, ("symbols chosen", selection_in_words(card))] if "selection" in card else facts


Row = tuple[str, str, str, str, str]


def selection_in_words(about: Mapping[str, Any]) -> str:
    """Of a data set's description: who chose the symbols, and how much of it by hindsight."""
    selection = about["selection"]
    if selection["chosen"] == SYMBOLS:
        return "chosen by you (SYMBOLS)"
    if selection["chosen"] == SOURCE:
        return f"all symbols of the {about['market']} market"
    return (
        f"{selection['sessions_listed']} of {selection['sessions']} sessions trained on as listed that day, "
        f"{selection['by_hindsight']:.0%} of the examples still chosen by hindsight (today's list)"
    )


def judged(card: Card, excess: NDArray[np.float64] | None) -> list[Row]:
    """How a model did on days it had not seen: measure, value, standard error, what stands beside it, what that is."""
    return [*_forecast(card), *_money(card, excess)]


def _forecast(card: Card) -> list[Row]:
    s, three = card["scores"], partial(number, digits=3)
    paid, level = card["baseline"]["share_profitable"], f"{card['min_confidence']:.2f}"
    brier, loss = paid * (1 - paid), -sum(p * math.log(p) for p in (paid, 1 - paid) if p > 0)
    luck = f"even exact probabilities, on so few days; once in twenty times above {three(s['ece_perfect_high'])}"
    always = "saying the share that paid at every minute; lower is better"
    return [
        ("AUC, mean over days", three(s["auc"]), three(s["auc_standard_error"]), "0.500", "chance"),
        ("calibration error", three(s["ece"]), NOTHING, three(s["ece_perfect"]), luck),
        ("Brier score", three(s["brier"]), NOTHING, three(brier), always),
        ("log loss", three(s["log_loss"]), NOTHING, three(loss), always),
        (f"paid at {level} or above", percent(s["precision"]), NOTHING, percent(paid),
         f"all rows, of which {s['signals']:,} reached {level}"),
    ]  # fmt: skip


def _money(card: Card, excess: NDArray[np.float64] | None) -> list[Row]:
    m, baseline, signed = card["money"], card["baseline"], partial(percent, sign="+")
    whole, hold = signed(m["daily"] * m["days"] / card["max_open_positions"]), signed(baseline["hold_net_return"])
    trade, day = "net return per trade", "net return per day"
    net = m["net_return_per_trade"]
    matched = net - m["excess_per_trade"] if m["trades"] else None
    above, error = (None, None) if excess is None else mean_and_error(excess)
    random, beaten = f"{signed(m['random_low'])} to {signed(m['random_high'])}", percent(m["random_beaten"], digits=0)
    return [
        (trade, signed(net), NOTHING, signed(baseline["always_buy_net_return"]), "buying at every minute"),
        (trade, signed(net), NOTHING, signed(matched), "other entries of the same days and half hours"),
        (trade, signed(net), NOTHING, signed(m["one_bar_later_per_trade"]),
         "the same trades, each bought one minute bar later; a profit that vanishes then does not count as skill"),
        (day, signed(m["daily"]), percent(m["daily_standard_error"]), signed(m["random_mean"]),
         f"random entries, as many a day: nine of ten earn {random}, {beaten} earn less"),
        ("margin per day", signed(above), percent(error), signed(0.0),
         "above entries of the same half hours; 0 is no skill in choosing the minute"),
        (f"net return of {plural(m['days'], 'day')}", whole, NOTHING, hold,
         f"buying and holding all symbols, with the money of {plural(card['max_open_positions'], 'position')}"),
    ]  # fmt: skip


def trials(card: Card) -> str:
    """What the Sharpe ratio is worth after so many configurations, in a sentence."""
    t = card["trials"]
    traded = t.get("traded", t["count"])  # earlier versions did not tell them apart
    luck = "The chance that it is above what luck alone shows is"
    if traded > 1:
        luck = (
            f"Whoever tries {traded:,} configurations that trade (of {t['count']:,} judged so far) finds a good-"
            "looking one by luck alone. The chance that this one is better than such a lucky find is"
        )
    return (
        f"Sharpe ratio {number(t['sharpe'])} a day, standard error {number(t['standard_error'])}. {luck} "
        f"{percent(t['deflated'])} (deflated Sharpe ratio)."
    )


def as_promised(row: Mapping[str, Any]) -> str:
    """Whether a row of the calibration table lies where that of an exact confidence would."""
    if row.get("low") is None or (row["low"], row["high"]) == (0.0, 1.0):
        return "too few days"
    if row["profitable"] < row["low"]:
        return "less than promised"
    return "more than promised" if row["profitable"] > row["high"] else "as promised"


# --- the newest review -----------------------------------------------------------------------------------------------


def by_cost(review: Review) -> list[Mapping[str, Any]]:
    """The learnt costs, the dearest first, then by how much each fill was worse than assumed."""
    return sorted(review["costs"], key=lambda cost: (-cost["extra_cost"], -cost["mean"]))


def dear(review: Review) -> list[Mapping[str, Any]]:
    """The learnt costs that act, the dearest first."""
    return [cost for cost in by_cost(review) if cost["extra_cost"] > 0]


def costs_in_words(learnt: Learnt, review: Review) -> str:
    """How many symbols cost more than assumed, and how many signals that turned down."""
    acting, traded_lately = (len(costs) for costs in (dear(review), review["costs"]))
    return (
        f"{acting} of {plural(traded_lately, 'symbol')} traded lately cost more than the training assumes, so their "
        f"confidence is lowered. Turned down for that: {plural(len(review['turned_down']), 'signal')} on "
        f"{review['session']}, {learnt.turned_down():,} over {plural(len(learnt.reviews), 'review')}."
    )


def terminal_lines(learnt: Learnt) -> list[tuple[str, str]]:
    """The newest review and what the models say of their features, each in a line of the terminal."""
    lines = _of_review(learnt.review) if learnt.review else [("review", "none yet, an evening makes one")]
    if removable := learnt.consider_removing():
        lines += [("features", f"consider removing {_some(removable)}")]
    return lines


def _of_review(review: Review) -> list[tuple[str, str]]:
    drift, followed, verified = review["drift"], review["followed"], review["verification"]
    unusual = [name for name, part in drift["parts"].items() if part["light"] in ("amber", "red")]
    costly = [f"{cost['symbol']} {percent(cost['extra_cost'], '+')}" for cost in dear(review)]
    lines = [
        ("drift", (drift["light"] or "not known") + (f" ({', '.join(unusual)})" if unusual else "")),
        ("costs", f"{_some(costly) or 'as assumed'}; {plural(len(review['turned_down']), 'signal')} turned down"),
        ("not made", f"{followed['settled']:,} ended, {followed['waiting']:,} open; {_skilled(followed)}"),
    ]
    if verified:
        agree, flips = f"{verified['agree']:,} of {verified['compared']:,}", sum(verified["flips"].values())
        lines.append(("verified", f"{agree} predictions agree, {plural(flips, 'decision')} flipped"))
    return lines


def _skilled(followed: Mapping[str, Any]) -> str:
    """Which of the trades that were not made would have shown skill."""
    skilled = [NAME_OF[kind] for kind, each in followed["evidence"].items() if each["holds"]]
    which = "both kinds" if len(skilled) > 1 else skilled[0] if skilled else "neither kind"
    return f"{which} would have shown skill"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def summary(learnt: Learnt) -> dict[str, Any]:
    """What --json tells of it: plain JSON types."""
    review = learnt.review
    return {
        "review": _essentials(review) if review else None,
        "signals_turned_down": learnt.turned_down(),
        "verdict_would_change": learnt.verdict_would_change(),
        "consider_removing": learnt.consider_removing(),
    }


def _essentials(review: Review) -> dict[str, Any]:
    verified = review["verification"]
    return {
        **{name: review[name] for name in ("session", "as_of", "model_id", "followed", "words")},
        "drift": {name: review["drift"][name] for name in ("light", "words")},
        "extra_costs": {cost["symbol"]: cost["extra_cost"] for cost in dear(review)},
        "turned_down": len(review["turned_down"]),
        "verification": verified and {name: verified[name] for name in ("compared", "agree", "flips")},
    }
