"""Simulated sessions, many seeds: what fired, what was violated, and how to see it again.

python -m tests.simulation.run --sessions 500 --jobs 2         seeds 0 to 499 in two processes
python -m tests.simulation.run --sessions 1 --first-seed 17    one seed again
python -m tests.simulation.run --seed 17 --log                 the same, with every request and journal line
"""

from __future__ import annotations

import argparse
import gc
import logging
import multiprocessing
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.simulation.faults import KINDS, Faults
from tests.simulation.oracles import Violation
from tests.simulation.world import World

SHM = Path("/dev/shm")  # noqa: S108 - memory, and files that nobody else looks at


@dataclass(frozen=True)
class Session:
    """One seed's outcome; `violation` None if all held. `fired` counts faults, `seen` states that were reached."""

    seed: int
    trace: str
    violation: str | None
    fired: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)


def run_session(seed: int, *, log: bool = False, rates: Mapping[str, float] | None = None) -> Session:
    """Simulate one seed in a folder of its own; faults of the kinds in `rates` as often as that, in every seed."""
    logging.disable(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix=f"session-{seed}-", dir=SHM if SHM.is_dir() else None))
    violation = None
    try:
        world = World(seed, folder, partial(Faults, rates=rates or {}), log=log)
        try:
            world.run()
        except Violation as error:
            violation = str(error)
        except Exception as error:  # noqa: BLE001 - whatever ended the program without a fault is a violation
            where = traceback.extract_tb(error.__traceback__)[-1]
            violation = f"ended by {type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
            if log:
                violation += "\n" + traceback.format_exc()
        if violation is not None:
            violation = f"at {world.machine_now():%F %T}: {violation}"
        return Session(seed, world.trace_hash, violation, world.faults.fired, world.seen, world.log or [])
    finally:
        world = None  # type: ignore[assignment]
        shutil.rmtree(folder, ignore_errors=True)
        logging.disable(logging.NOTSET)


def _begin() -> None:
    """Of a process, once all is imported: each crash collects what it left, and need not look at the modules."""
    gc.freeze()


def run_sessions(seeds: Iterable[int], jobs: int) -> Iterator[Session]:
    """Simulate many, in processes of their own; in the order of the seeds."""
    with multiprocessing.get_context("spawn").Pool(jobs, initializer=_begin) as pool:
        yield from pool.imap(run_session, seeds, chunksize=4)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--log", action="store_true", help="every request and journal line of --seed")
    arguments = parser.parse_args(argv)
    begin = time.perf_counter()
    if arguments.seed is not None:
        session = run_session(arguments.seed, log=arguments.log)
        print("\n".join(session.log))
        print(f"seed {session.seed}: {session.violation or 'no violation'}; trace {session.trace}")
        return 1 if session.violation else 0
    fired, seen, violations = Counter[str](), Counter[str](), list[Session]()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.sessions)
    for done, session in enumerate(run_sessions(seeds, arguments.jobs), 1):
        if done % 1000 == 0 and done < arguments.sessions:
            print(f"{done} sessions, {len(violations)} violations so far", flush=True)
        fired += session.fired
        seen += session.seen
        if session.violation is not None:
            violations.append(session)
            print(f"seed {session.seed} {session.violation}", flush=True)
            print(f"    python -m tests.simulation.run --seed {session.seed} --log", flush=True)
    for kind in KINDS:
        print(f"{fired[kind]:8,}  {kind}")
    for state, count in sorted(seen.items()):
        print(f"{count:8,}  {state}")
    silent = [kind for kind in KINDS if not fired[kind]]
    if silent:
        print(f"never fired: {', '.join(silent)}")
    seconds = time.perf_counter() - begin
    print(f"{arguments.sessions} sessions in {seconds:.1f} s, {len(violations)} violations")
    return 1 if violations or silent else 0


if __name__ == "__main__":
    sys.exit(main())
