"""When things happen in a simulated session: from before 04:00 of its day into the next session's first minutes."""

from __future__ import annotations

from datetime import date
from random import Random

from market.hours import Session, at_new_york, sessions_between

YEAR = date(2026, 1, 5), date(2026, 12, 18)
EARLY_CLOSE_SHARE = 0.03
CALM_SECONDS = 600
MINUTE = 60.0


class Timeline:
    """Two sessions; times are seconds since 1970. In `calm` stretches nothing new fails: one is somewhere in the
    session, one at its end, one after the next open."""

    def __init__(self, random: Random) -> None:
        sessions = sessions_between(*YEAR)
        early = [i for i, session in enumerate(sessions) if session.minutes < 390]
        first = random.choice(early if random.random() < EARLY_CLOSE_SHARE else range(len(sessions) - 1))
        self.sessions: list[Session] = sessions[first : first + 2]
        opens, closes = (moment.timestamp() for moment in self.sessions[0][1:])
        again = self.sessions[1].open.timestamp()
        mornings = [at_new_york(session.day, "04:00").timestamp() for session in self.sessions]
        self.evening = evening = at_new_york(self.sessions[0].day, "20:00").timestamp()
        self.start, self.end = mornings[0] - 2 * MINUTE, again + 21.5 * MINUTE
        starts = [random.uniform(opens + 600, closes - 1800), closes - CALM_SECONDS, again + 12 * MINUTE]
        self._calm = [(start, start + CALM_SECONDS) for start in starts]
        self._nights = (
            (mornings[0] + 5 * MINUTE, opens - 2 * MINUTE),
            (closes + 3 * MINUTE, evening - 2 * MINUTE),
            (evening + 4 * MINUTE, mornings[1] - 2 * MINUTE),
            (mornings[1] + 5 * MINUTE, again - 2 * MINUTE),
        )

    def calm(self, now: float) -> bool:
        return any(start <= now < end for start, end in self._calm)

    def until_calm(self, now: float, until: float) -> float:
        """`until`, or where a calm stretch begins before it."""
        return min([until, *(start for start, _ in self._calm if start > now)])

    def over_the_night(self, now: float, seconds: float) -> float:
        """How long a wait of `seconds` lasts, if hours in which nothing is due are passed over."""
        return max([seconds, *(ends - now for begins, ends in self._nights if begins <= now < ends)])
