"""How long train.report blocks: local disk, trainfs, and Ray's own upload to S3."""

import importlib.metadata
import statistics

from benchlib import gateway, machine, report
from raylib import Failed
from raylib.lab import BUCKET, ROOT
from raylib.node import LOCAL, TRAIN

MARKS = ("<!-- ray:begin -->", "<!-- ray:end -->")  # around the table in a README
DISK, OURS, RAYS = "the local disk", "trainfs", "Ray's own `s3://`"

# Ray's controller takes a report every two seconds. An epoch that is shorter has the next report wait for it,
# wherever the checkpoint goes.
EPOCH = 3  # seconds
MOST = 1.2  # times the local disk


def figures(lab):
    """Seconds that train.report blocks an epoch: local disk, trainfs, Ray's own s3://."""
    if lab.options.readme:
        report.check_readme(lab.options.readme, *MARKS)
    lab.two_nodes()
    load = machine.load()
    arrow = f"s3://{BUCKET}/arrow?endpoint_override={lab.gateway.address}&scheme=http&region={gateway.REGION}"
    places = [(DISK, LOCAL), (OURS, TRAIN), (RAYS, arrow)]
    rounds = [{} for _ in range(lab.options.rounds)]
    for number, seconds in enumerate(rounds):
        for place, storage in places[number % 3:] + places[:number % 3]:  # in turn, so that no place has the better hour
            job = lab.job(f"figures-{number}-{places.index((place, storage))}", storage=storage, mib=lab.options.mib,
                          epochs=lab.options.epochs, pause=EPOCH)
            job.ends()
            # The first epoch makes connections and directories.
            seconds[place] = [n["seconds"] for n in job.own("reported") if n["epoch"] > 0]
            lab.say(f"{place}: {[round(s, 3) for s in seconds[place]]}")
            if place == OURS:
                lab.drain()
    print("\n" + markdown(lab, rounds, load) + "\n")
    if any(len(seconds) != 3 or not all(seconds.values()) for seconds in rounds):
        raise Failed("not all was measured")
    if lab.options.readme:
        report.write_readme(lab.options.readme, markdown(lab, rounds, load), *MARKS)


def markdown(lab, rounds, load):
    """Medians over all reports of all rounds; a ratio is of the medians of one round, and the median of the rounds'."""
    o = lab.options
    command = f"scripts/ray figures --mib {o.mib} --epochs {o.epochs} --rounds {o.rounds}"
    out = [f"`{command}` on {machine.cpu_model()}, trainfs {machine.git_version(ROOT)}, versitygw {gateway.VERSION}, load average "
           f"before: {load:.2f}. Ray {importlib.metadata.version('ray')}, 2 ranks on 2 nodes, {o.mib} MiB a rank, {len(rounds)} rounds of "
           f"{o.epochs - 1} reports each (the first is not counted), n = {sum(len(r[OURS]) for r in rounds)} a row.", "",
           "| storage path | median | least..most | against the local disk | trainfs against it |", "|---|---|---|---|---|"]
    for place in (DISK, OURS, RAYS):
        seconds = [s for r in rounds for s in r[place]]
        out.append(f"| {place} | {statistics.median(seconds):.3f} s | {min(seconds):.3f}..{max(seconds):.3f} s "
                   f"| {ratio(rounds, place, DISK)} | {ratio(rounds, OURS, place)} |")
    reached = statistics.median(ratios(rounds, OURS, DISK)) <= MOST
    return "\n".join([*out, "", f"Goal: at most {MOST} x the local disk: {'reached' if reached else 'MISSED'}. "
                      "The processors of the nodes are those of the server, and of what uploads meanwhile."])


def ratio(rounds, place, base):
    if place == base:
        return ""
    every = ratios(rounds, place, base)
    return f"{statistics.median(every):.2f} ({min(every):.2f}..{max(every):.2f})"


def ratios(rounds, place, base):
    """That of each round, of its medians."""
    return [statistics.median(r[place]) / statistics.median(r[base]) for r in rounds]

