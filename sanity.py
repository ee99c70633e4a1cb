"""Can this pipeline be fooled, and does it find what is there? Asked of markets whose truth is known, by

    python ml_trainer.py --sanity

Bars are simulated and go through everything that a training does: features, labels, purged walk-forward, calibration,
scores, verdict. Model type, LEFT_OUT_FEATURES and the rules of trading are the settings'; no file is read or written.

    no feature looks ahead   features of bars cut off at random minutes are those of all bars
    shuffled labels          the planted markets, each symbol's day with another's features: nothing to learn
    noise                    driftless random walks, traded by the settings' rules
    noise, short trades      ten minutes between tight levels, where one bar of foresight shows most
    planted pattern          drift-neutral: 3% of the minutes foretell the next two hours, and always buying earns nothing
    top 2% of all noise      the verdict's own test: the best scores are traded whatever the threshold, before cost

What each case may show, so that fewer than one in 500 sane pipelines fails any: AUC within FAR standard errors (over
days) of 0.5; at most one market in four proven (of markets without skill the verdict proves less than one in a hundred
at the threshold), and of the top 2% so many as a 5% chance explains. On noise no AUC but that of short trades between
symmetric levels is judged: how often a stop is hit can be told from volatility, honestly, and earns nothing.
"""

from __future__ import annotations

from datetime import date

MARKETS = 4  # of each kind
LONG, SHORT = 31, 21  # sessions: a pattern needs more days to be proven than noise to look like noise
FIRST_DAY, LAST_DAY = date(2026, 1, 22), date(2026, 3, 6)  # no early close
PLANTED = {"stop_loss": 0.02, "take_profit": 0.04, "max_holding_minutes": 120, "round_trip_cost": 0.0006}
PLANTED_CLIMB, PLANTED_CONFIDENCE, PLANTED_AUC = 0.6, 0.65, 0.58
TIGHT = {"stop_loss": 0.005, "take_profit": 0.005, "max_holding_minutes": 10, "round_trip_cost": 0.0}
LONGEST_MINUTES = 780  # market minutes held at most here: in a month too few of longer trades settle
FAR = 4.0
