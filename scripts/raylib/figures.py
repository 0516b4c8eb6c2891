"""How long train.report blocks: local disk, trainfs, and Ray's own upload to S3."""

import os
import statistics

from raylib import bucket
from raylib.node import LOCAL, TRAIN


def figures(lab):
    """Seconds that train.report blocks an epoch: local disk, trainfs, Ray's own s3://."""
    lab.two_nodes()
    arrow = f"s3://runs/arrow?endpoint_override={lab.gateway.endpoint.replace('http://', '')}&scheme=http&region=us-east-1"
    places = {"local disk": LOCAL, "trainfs": TRAIN, "Ray's own s3://": arrow}
    measured = {place: [] for place in places}
    for round_ in range(2):  # in turn, so that no place has the better hour
        for place, storage in places.items():
            name = f"figures-{len(place)}-{round_}"
            job = lab.job(name, storage=storage, mib=lab.options.mib, epochs=lab.options.epochs, pause=0.5)
            job.ends(timeout=400)
            # The first epoch makes connections and directories.
            measured[place] += [n["seconds"] for n in job.notes("reported") if n["epoch"] > 0]
            if place == "trainfs":
                lab.drain()
            lab.say(f"{place}: {[round(s, 2) for s in measured[place]]}")
    local = statistics.median(measured["local disk"])
    print(f"\ntrain.report, 2 ranks on 2 nodes, {lab.options.mib} MiB a rank, n = {len(measured['trainfs'])} a row\n")
    print("| storage path | median | spread | against the local disk |\n|---|---|---|---|")
    for place, seconds in measured.items():
        median = statistics.median(seconds)
        print(f"| {place} | {median:.2f} s | {min(seconds):.2f}..{max(seconds):.2f} s | {median / local:.2f} x |")
    print()
