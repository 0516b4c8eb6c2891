"""Rounds, pairs, medians, ratios.

One round runs every contestant once, the baseline first. A pair is the figures of two
contestants from the same round, so that a disk or a machine that slows down over minutes
slows both. A ratio is taken of each pair; what counts against a goal is their median."""

import operator
import statistics

from benchlib import BenchError

GOALS = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt}


class Samples:
    """Figures of some contestants, by round: samples[name][round][figure]."""

    def __init__(self):
        self.by_name = {}
        self.problems = {}  # name: why there are no more

    def add(self, name, round_, figures):
        self.by_name.setdefault(name, {})[round_] = figures

    def values(self, name, figure):
        return [s[figure] for _, s in sorted(self.by_name.get(name, {}).items())]

    def ratios(self, name, against, figure, baseline_figure=None):
        mine, other = self.by_name.get(name, {}), self.by_name.get(against, {})
        return [mine[r][figure] / other[r][baseline_figure or figure] for r in sorted(mine) if r in other]


def rounds(bench, contestants, once, count, warm):
    """Runs once(contestant, round) in interleaved rounds, and settles before each run.
    warm is how many bytes of page cache a run will want.

    A peer that fails or takes too long is out from then on, with the reason in problems;
    anybody else's failure ends the workload."""
    samples = Samples()
    for r in range(count):
        for c in contestants:
            if c.name in samples.problems or (c.peer and r >= bench.peer_rounds):
                continue
            bench.settle(warm)
            try:
                figures = once(c, r)
                samples.add(c.name, r, figures)
                bench.say(f"  round {r + 1}: {c.name}: " + ", ".join(f"{k} {v:.3f}" for k, v in figures.items()))
            except BenchError as err:
                if not c.peer:
                    raise
                samples.problems[c.name] = str(err)
                bench.say(f"  round {r + 1}: {c.name}: {err}")
                c.stop()
    return samples


class Row:
    """One line of the report: a contestant's figure and, if it has one, its ratio to another's."""

    def __init__(self, samples, subject, figure, unit, against=None, goal=None, problem=None):
        self.subject, self.figure, self.unit, self.against, self.goal = subject, figure, unit, against, goal
        self.values = samples.values(subject, figure)
        self.ratios = samples.ratios(subject, against, figure) if against else []
        self.problem = problem or samples.problems.get(subject) or (samples.problems.get(against) if against else None)

    @classmethod
    def from_dict(cls, d):
        """The row that as_dict has written."""
        row = cls(Samples(), d["contestant"], d["figure"], d["unit"], d["against"], problem=d["problem"])
        row.values, row.ratios = d["values"], d["ratios"]
        if d["goal"]:
            sign, limit = d["goal"].split()
            row.goal = (sign, float(limit))
        return row

    def judged(self):
        """What the goal is about: the ratio if there is one, else the value."""
        return self.ratios if self.against else self.values

    def met(self):
        """True, False, or None if there is no goal or nothing to hold it against."""
        if not self.goal or not self.judged():
            return None
        sign, limit = self.goal
        return GOALS[sign](statistics.median(self.judged()), limit)

    def as_dict(self):
        return {"contestant": self.subject, "figure": self.figure, "unit": self.unit, "values": self.values,
                "median": statistics.median(self.values) if self.values else None,
                "against": self.against, "ratios": self.ratios,
                "median_ratio": statistics.median(self.ratios) if self.ratios else None,
                "goal": f"{self.goal[0]} {self.goal[1]}" if self.goal else None, "met": self.met(),
                "problem": self.problem}
