"""Minute bars of a market that does not exist, so that a machine without keys can run the whole cycle.

Twelve fictional symbols move like liquid US shares: a heavy first minute, fat tails, calm and wild days, a shared
market factor, overnight gaps, volume that follows volatility. The constants below were fitted to statistics of 18 US
symbols x 31 sessions of real minute bars (2026-01-22..03-06); no recorded price is in here.

One thing is planted. Now and then a symbol begins an episode: twenty minutes of signature, in which it falls for five
and then stands almost still, all on heavy volume; then it climbs for two and a half hours. Every minute carries the
small decline that pays for the episodes to come. So the price is a fair game for whoever does not see them, and always
buying earns nothing; who buys in a signature and holds for a session wins about five times in six.

    log return = steps of the episodes under way - EPISODES_PER_MINUTE x expm1(net step sum of one)      drift
               + t sd x (symbol) x (minute of the session) x (day) x (quarter of an hour)                surprise
    high, low  = extremes of a Brownian bridge from open to close

Volatility and volume of a day and of a quarter of an hour are driven by the same numbers, and the size of a surprise
moves volume too (mixture of distributions: Clark, P. (1973), Econometrica 41).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from market.bars import check_bars
from market.hours import Session

Array = NDArray[np.float64]

BANNER = (
    "This market is artificial: fictional symbols, random prices, and a planted pattern for the model to find, paid "
    "for by a small decline in every minute, so that always buying earns nothing. Profit here shows that the machinery "
    "works and nothing else."
)

# From a symbol like an index fund (SPY, 3.9 bp) to one like COIN (19.8 bp); the measured median is 10.8 bp.
_SHARES = {  # first price in USD, sd of 1-minute log returns in bp, loading on the market, million shares a day
    "SIM01": (620.0, 4.0, 0.86, 62.0),
    "SIM02": (540.0, 5.3, 0.84, 50.0),
    "SIM03": (95.0, 6.5, 0.62, 42.0),
    "SIM04": (210.0, 9.0, 0.60, 9.5),
    "SIM05": (150.0, 9.8, 0.58, 18.0),
    "SIM06": (430.0, 10.6, 0.66, 6.0),
    "SIM07": (185.0, 11.0, 0.66, 110.0),
    "SIM08": (310.0, 11.6, 0.55, 13.0),
    "SIM09": (75.0, 12.5, 0.46, 12.0),
    "SIM10": (340.0, 14.0, 0.60, 16.0),
    "SIM11": (160.0, 16.0, 0.52, 20.0),
    "SIM12": (180.0, 20.0, 0.58, 10.5),
}
SYMBOLS = list(_SHARES)
_START_USD, _SD_BP, _MARKET, _DAY_VOLUME_M = np.array(list(_SHARES.values())).T[:, :, np.newaxis]  # each (12, 1)

FULL_SESSION_MINUTES = 390
TAIL_DEGREES = 7.0  # Student t, after time of day and day volatility are removed: 6 to 8
REVERSAL = 0.06  # share of a surprise taken back in the next minute
OPEN_JITTER = 0.13  # sd of the open against the previous close, in minute sds
BRIDGE_SD = 0.95  # in minute sds; 1 would make the mean range 2.0 mean absolute returns, and 1.9 is measured
GAP_SD = 12.5  # overnight, in minute sds
DAY_MEMORY = 0.6  # lag-1 autocorrelation of log day volatility; through sampling noise it is measured as 0.5
DAY_SD, QUARTER_SD = 0.24, 0.20  # of log volatility
QUARTER_MINUTES = 15
VOLUME_DAY, VOLUME_QUARTER, VOLUME_SURPRISE, VOLUME_OWN = 0.36, 0.38, 0.38, 0.28  # what moves log volume, and how far

EPISODES_PER_MINUTE = 0.75 / FULL_SESSION_MINUTES  # of each symbol
FALL_MINUTES, SIGNATURE_MINUTES, CLIMB_MINUTES = 5, 20, 150  # the fall is the signature's first part
FALL_STEP, CLIMB_STEP = -1.6, 1 / 6  # per minute, in minute sds
SIGNATURE_VOLUME = 3.0  # times the usual
SIGNATURE_SD_BP = 0.6  # the same for every symbol, because bar_range is compared across symbols
CLIMB_CALM = 0.5  # times the usual surprise


class _Draws(NamedTuple):
    """All that is random in a session: levels and gaps of shape (12, 1), the rest (12, minutes)."""

    level: Array
    gap: Array
    normal: Array
    size: Array  # sqrt of the mixing variance that makes the normal a Student t of unit variance
    quarter: Array
    jitter: Array
    up: Array
    down: Array
    volume: Array
    starts: Array  # 1.0 where an episode begins


def simulate_bars(
    sessions: Sequence[Session],
    symbols: Sequence[str] = SYMBOLS,
    *,
    seed: int,
    pattern_strength: float = 1.0,
    climb: float = 1.0,
) -> pd.DataFrame:
    """Simulate every minute of `sessions` (oldest first) as a checked bars table.

    The n-th session depends on the seed and the sessions before it, never on what follows, nor on which `symbols` are
    asked for. Prices are rounded to the cent and volumes to the share, so the same arguments give the same bits on any
    machine. `pattern_strength` scales the episodes and the decline that pays for them: 1 as described above, 0 the
    same noise without either. `climb` scales the climb alone, and the decline by what the climb costs: the signature
    stays as clear and foretells less. With 0.6 buying in a signature for two hours earns about 0.9% before cost.
    Raises ValueError for no sessions, an unknown symbol, a negative strength or a negative climb.
    """
    unknown = [name for name in symbols if name not in _SHARES]
    if unknown:
        raise ValueError(f"no simulated symbol {', '.join(unknown)}; there are {SYMBOLS[0]} to {SYMBOLS[-1]}")
    if not pattern_strength >= 0:
        raise ValueError(f"pattern_strength is {pattern_strength}; give 0 (pure noise) or more (1: as planted)")
    if not climb >= 0:
        raise ValueError(f"climb is {climb}; give 0 (the signature leads nowhere) or more (1: as planted)")
    if not sessions:
        raise ValueError("no sessions to simulate; give at least one")
    lengths = [session.minutes for session in sessions]
    parts = [_draw(seed, number, minutes) for number, minutes in enumerate(lengths)]
    draws = _Draws(*(np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True)))
    day = np.repeat(np.arange(len(lengths)), lengths)

    drift, calm, heavy = _episodes(draws.starts, pattern_strength, climb)
    level = _remember(draws.level)
    quarter = _running_sum(draws.quarter, QUARTER_MINUTES) / np.sqrt(QUARTER_MINUTES)
    day_sd = _SD_BP * 1e-4 * np.exp(DAY_SD * level - DAY_SD**2)  # mean square 1, as the next
    sd = day_sd[:, day] * np.exp(QUARTER_SD * quarter - QUARTER_SD**2) * calm * draws.size
    sd *= np.concatenate([_volatility_shape(minutes) for minutes in lengths])

    surprise = _without_drift(draws.normal, sd)
    surprise[:, 1:] -= REVERSAL * surprise[:, :-1].copy()
    gap = np.zeros_like(sd)
    opens_at = (np.cumsum(lengths) - lengths)[1:]
    gap[:, opens_at] = _without_drift(draws.gap, GAP_SD * day_sd)[:, 1:]
    start = np.log(_START_USD)
    close = start + np.cumsum(drift + surprise + gap, axis=1)
    open_ = np.concatenate([start, close[:, :-1]], axis=1) + gap + OPEN_JITTER * sd * draws.jitter
    middle, half = (open_ + close) / 2, (close - open_) / 2
    # the maximum of a bridge, by inversion of its distribution; the minimum by symmetry
    high = middle + np.sqrt(half**2 + (BRIDGE_SD * sd) ** 2 * draws.up / 2)
    low = middle - np.sqrt(half**2 + (BRIDGE_SD * sd) ** 2 * draws.down / 2)

    log_volume = VOLUME_DAY * level[:, day] + VOLUME_QUARTER * quarter + VOLUME_OWN * draws.volume
    log_volume += VOLUME_SURPRISE * 2 * np.log(draws.size)
    volume = _DAY_VOLUME_M * 1e6 / FULL_SESSION_MINUTES * heavy * np.exp(log_volume)
    volume *= np.concatenate([_volume_shape(minutes) for minutes in lengths])

    stamps = np.concatenate([_minutes_of(session) for session in sessions])
    rows = [row for row, name in enumerate(SYMBOLS) if name in symbols]
    table = {
        "symbol": np.repeat([SYMBOLS[row] for row in rows], len(stamps)),
        "timestamp": pd.DatetimeIndex(np.tile(stamps, len(rows)), tz="UTC"),
    }
    for name, log_price in (("open", open_), ("high", high), ("low", low), ("close", close)):
        table[name] = np.exp(log_price[rows]).round(2).ravel()
    table["volume"] = np.maximum(volume[rows].round(), 1.0).ravel()
    return check_bars(pd.DataFrame(table), "simulated market")


def signature_minutes(sessions: Sequence[Session], *, seed: int) -> NDArray[np.bool_]:
    """Which rows of `simulate_bars` (of all symbols) foretell a climb, shape (rows,): a signature shows, its fall over.

    Who knows them trades by the best rule there is.
    """
    starts = np.concatenate([_draw(seed, n, session.minutes).starts for n, session in enumerate(sessions)], axis=1)
    shown: NDArray[np.bool_] = _running_sum(starts, SIGNATURE_MINUTES) > _running_sum(starts, FALL_MINUTES - 1)
    return shown.ravel()


def _draw(seed: int, number: int, minutes: int) -> _Draws:
    # a stream per session, so that more sessions only extend the earlier ones
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(number,))))
    one, each = (len(SYMBOLS), 1), (len(SYMBOLS), minutes)
    own = np.sqrt(1 - _MARKET**2)
    return _Draws(
        level=(rng.standard_normal() + rng.standard_normal(one)) / np.sqrt(2),  # half of it the whole market's
        gap=_MARKET * rng.standard_normal() + own * rng.standard_normal(one),
        normal=_MARKET * rng.standard_normal(minutes) + own * rng.standard_normal(each),
        size=np.sqrt((TAIL_DEGREES / 2 - 1) / rng.standard_gamma(TAIL_DEGREES / 2, each)),
        quarter=rng.standard_normal(each),
        jitter=rng.standard_normal(each),
        up=rng.standard_exponential(each),
        down=rng.standard_exponential(each),
        volume=rng.standard_normal(each),
        starts=(rng.random(each) < EPISODES_PER_MINUTE).astype(np.float64),
    )


def _episodes(starts: Array, strength: float, climb: float) -> tuple[Array, Array, Array]:
    """Per minute: drift (log return), and the factors on surprises and on volume. Episodes overlap and add up."""
    falling = _running_sum(starts, FALL_MINUTES)
    signature = _running_sum(starts, SIGNATURE_MINUTES)
    climbing = _running_sum(starts, SIGNATURE_MINUTES + CLIMB_MINUTES) - signature
    unit, climb_step = strength * _SD_BP * 1e-4, climb * CLIMB_STEP
    net = unit * (FALL_STEP * FALL_MINUTES + climb_step * CLIMB_MINUTES)
    # expm1: for a Poisson number of episodes this, and not the mean log, leaves the expected price where it was
    drift = unit * (FALL_STEP * falling + climb_step * climbing) - EPISODES_PER_MINUTE * np.expm1(net)
    calm = np.where(signature > 0, SIGNATURE_SD_BP / _SD_BP, np.where(climbing > 0, CLIMB_CALM, 1.0))
    heavy = np.where(signature > 0, SIGNATURE_VOLUME, 1.0)
    return drift, calm**strength, heavy**strength


def _running_sum(values: Array, width: int) -> Array:
    """Sum of the newest `width` columns, fewer at the start."""
    total = np.cumsum(values, axis=1)
    total[:, width:] -= total[:, :-width].copy()
    return total


def _remember(news: Array) -> Array:
    """A stationary first-order autoregression of unit variance, over sessions."""
    level = news.copy()
    for day in range(1, level.shape[1]):
        level[:, day] = DAY_MEMORY * level[:, day - 1] + np.sqrt(1 - DAY_MEMORY**2) * news[:, day]
    return level


def _without_drift(normal: Array, sd: Array) -> Array:
    """Log returns whose exponential has mean 1: noise moves the price, never its expectation."""
    return sd * normal - sd**2 / 2


def _volatility_shape(minutes: int) -> Array:
    """Volatility by minute of the session; root mean square 1 over a full one."""
    minute = np.arange(max(minutes, FULL_SESSION_MINUTES))
    shape = 0.71 + 1.7 * np.exp(-minute / 58) + 2.95 * np.exp(-minute / 2.9)
    return (shape / np.sqrt(np.mean(shape[:FULL_SESSION_MINUTES] ** 2)))[:minutes]


def _volume_shape(minutes: int) -> Array:
    """Volume by minute of the session; mean 1 over a full one. The auctions make the first and the last minute."""
    minute = np.arange(minutes)
    shape = 0.62 + 1.9 * np.exp(-minute / 49) + 0.97 * np.exp(-minute[::-1] / 22) + 3.2 * np.exp(-minute[::-1] / 3.5)
    shape[[0, -1]] = 9.6, 10.0
    return shape


def _minutes_of(session: Session) -> NDArray[np.datetime64]:
    opens = np.datetime64(session.open.replace(tzinfo=None), "us")
    return opens + np.arange(session.minutes) * np.timedelta64(1, "m")
