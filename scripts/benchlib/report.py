"""The results as a table for a terminal, as Markdown, as JSON."""

import json
import os
import statistics
import tempfile

from benchlib import BenchError
from benchlib.contestants import RCLONE, S3FS, TRAINFS
from benchlib.measure import Row

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
SIGNS = {"<=": "≤", ">=": "≥", "<": "<", ">": ">"}


class Result:
    """What came of one workload; error is why it came to nothing."""

    def __init__(self, number, title, rows=(), notes=(), error=None, wall=0.0):
        self.number, self.title, self.rows, self.notes, self.error, self.wall = number, title, rows, notes, error, wall

    @classmethod
    def from_dict(cls, d):
        """The result that as_dict has written."""
        return cls(d["workload"], d["title"], [Row.from_dict(r) for r in d["rows"]], d["notes"], d["error"], d["wall_seconds"])

    def as_dict(self):
        return {"workload": self.number, "title": self.title, "error": self.error, "wall_seconds": round(self.wall, 1),
                "notes": list(self.notes), "rows": [r.as_dict() for r in self.rows]}


def number(x):
    """Three digits that count."""
    return f"{x:,.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}" if x >= 1 else f"{x:.3f}"


def value(row):
    return f"{number(statistics.median(row.values))} {row.unit}" if row.values else "none"


def ratio(row):
    if not row.ratios:
        return ""
    middle, low, high = statistics.median(row.ratios), min(row.ratios), max(row.ratios)
    return f"{middle:.2f} ({low:.2f}..{high:.2f}, n={len(row.ratios)})"


def goal(row):
    if not row.goal:
        return ""
    sign, limit = row.goal
    return f"{SIGNS[sign]} {limit:.2f}" if row.against else f"{SIGNS[sign]} {limit:g} {row.unit}"


def verdict(row):
    return {True: "met", False: "MISSED", None: "" if not row.goal else "not measured"}[row.met()]


def table(results):
    """The whole, for a terminal."""
    out = []
    for r in results:
        out.append(f"{r.number}. {r.title}  [{r.wall:.0f} s]")
        if r.error:
            out.append(f"   FAILED: {r.error}")
        lines = [[row.subject, value(row), spread(row), f"vs {row.against}" if row.against else "", ratio(row), goal(row), verdict(row)]
                 for row in r.rows]
        widths = [max(map(len, column)) for column in zip(*lines)] if lines else []
        for row, line in zip(r.rows, lines):
            out.append(("   " + "  ".join(cell.ljust(w) for cell, w in zip(line, widths))).rstrip())
            if row.problem:
                out.append(f"      {row.problem}")
        out += [f"   - {n}" for n in r.notes] + [""]
    return "\n".join(out)


def spread(row):
    return f"({number(min(row.values))}..{number(max(row.values))})" if len(row.values) > 1 else ""


def markdown(facts, results):
    """The block for README.md: one line a goal."""
    out = [f"Measured {facts['date']} by `{facts['command']}` on {facts['cpu']} ({facts['cpus']} CPUs, "
           f"{facts['memory_bytes'] / 2**30:.0f} GiB), Linux {facts['kernel']}, {facts['file_system']}; store, caches and local "
           f"files on one disk; trainfs {facts['trainfs']} ({facts['go']}; passthrough {facts.get('passthrough', 'not known')}), "
           f"rclone {facts['rclone']}, s3fs {facts['s3fs']}, all over versitygw {facts['versitygw']} on this machine. "
           f"Load average before: {facts['load_before']:.2f}.", "",
           "Medians; a ratio is of a pair from one round, with the range over all pairs and their number.", "",
           "| Workload | trainfs | compared with | ratio | goal | | rclone mount | s3fs |",
           "|---|---|---|---|---|---|---|---|"]
    for r in results:
        if r.error:
            out.append(f"| {r.number}. {r.title} | failed: {cell(r.error)} | | | | | | |")
        for row in r.rows:
            if not row.goal:
                continue
            base = next((b for b in r.rows if b.subject == row.against and b.figure == row.figure), None)
            compared = f"{base.subject}: {value(base)}" if base else ""
            mine = value(row) + ("" if row.subject == TRAINFS else f" ({row.subject})")
            peers = [peer(r.rows, name, row) for name in (RCLONE, S3FS)]
            out.append("| " + " | ".join([f"{r.number}. {r.title}", mine, compared, ratio(row), goal(row), verdict(row), *peers]) + " |")
    out.append("")
    out += [f"- {r.number}: {note}" for r in results for note in r.notes]
    return "\n".join(out)


def peer(rows, name, row):
    """A peer's ratio to the same baseline, or why there is none."""
    for p in rows:
        if p.subject == name and p.against == row.against and p.figure == row.figure:
            return "; ".join(t for t in (ratio(p), cell(p.problem or "")) if t)
    return ""


def cell(text):
    return " ".join(text.replace("|", "/").split())[:160]


def as_json(facts, results):
    return json.dumps({"facts": facts, "results": [r.as_dict() for r in results]}, indent=1) + "\n"


def joined(paths):
    """(facts, results) of several runs' JSON, by workload; of two runs of one the later counts.
    What differs between the runs is named once each."""
    facts, results = {}, {}
    for path in paths:
        try:
            with open(path, encoding="utf-8") as f:
                run = json.load(f)
            for r in run["results"]:
                results[r["workload"]] = Result.from_dict(r)
            for key, fact in run["facts"].items():
                facts.setdefault(key, [])
                if fact not in facts[key]:
                    facts[key].append(fact)
        except (OSError, ValueError, KeyError, TypeError) as err:
            raise BenchError(f"--report: {path} holds no figures of scripts/bench: {err}") from None
    facts["load_before"] = [max(facts["load_before"])]
    facts["quick"] = [any(facts["quick"])]
    facts = {k: v[0] if len(v) == 1 else "; ".join(map(str, v)) for k, v in facts.items()}
    return facts, [results[n] for n in sorted(results)]


def check_readme(path, begin=BEGIN, end=END):
    """Fails before anything is measured if the block has no place to go to."""
    try:
        with open(path, encoding="utf-8") as f:
            lines = f.read().splitlines()
    except OSError as err:
        raise BenchError(f"--readme: {err}") from None
    if begin not in lines or end not in lines or lines.index(begin) > lines.index(end):
        raise BenchError(f"--readme: {path} lacks the lines {begin} and {end}")
    return lines


def write_readme(path, block, begin=BEGIN, end=END):
    lines = check_readme(path, begin, end)
    text = "\n".join([*lines[:lines.index(begin) + 1], "", block, "", *lines[lines.index(end):]]) + "\n"
    replace(path, text)


def replace(path, text):
    """Writes a file whole or not at all."""
    path = os.path.realpath(path)
    mode = os.stat(path).st_mode & 0o777 if os.path.exists(path) else 0o644
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=os.path.dirname(path), delete=False) as f:
        f.write(text)
        os.fchmod(f.fileno(), mode)
    os.replace(f.name, path)
