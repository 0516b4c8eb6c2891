"""The command line of scripts/ray."""

import argparse
import random
import sys
import time
import traceback

SCENARIOS = {}


def scenarios():
    from raylib import broken, faults, figures, kills, reading, runs

    return {
        "to-the-end": runs.to_the_end, "modes": runs.modes, "worker-killed": faults.worker_killed,
        "daemon-killed": faults.daemon_killed, "read-without": reading.read_without, "train-v1": runs.train_v1,
        "environment": runs.environment, "node-lost": faults.node_lost, "kills": kills.kills, "broken": broken.broken,
        "figures": figures.figures,
    }


def main():
    known = scenarios()
    parser = argparse.ArgumentParser(
        prog="scripts/ray", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Ray Train on two nodes over trainfs. Without names, all scenarios but figures are run.",
        epilog="scenarios:\n" + "".join(f"  {name:15} {f.__doc__.splitlines()[0]}\n" for name, f in known.items()))
    parser.add_argument("scenario", nargs="*", metavar="SCENARIO")
    parser.add_argument("--kills", type=int, default=10, metavar="N", help="for kills: how many times in a row (10)")
    parser.add_argument("--seed", type=int, default=None, help="for kills: repeats an earlier run's choices")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="for figures: how often each job is run (3)")
    parser.add_argument("--epochs", type=int, default=6, metavar="N", help="for figures: epochs of each job (6)")
    parser.add_argument("--mib", type=int, default=64, metavar="N", help="for figures: size of a rank's checkpoint in MiB (64)")
    parser.add_argument("--readme", metavar="FILE", help="for figures: put the table into FILE between <!-- ray:begin --> and <!-- ray:end -->")
    parser.add_argument("--dir", default="/var/tmp", help="where the temporary directory is made (/var/tmp)")
    parser.add_argument("--race", action="store_true", help="build trainfs with the race detector")
    parser.add_argument("--keep", action="store_true", help="keep the temporary directory, logs and bucket included")
    options = parser.parse_args()
    for name in options.scenario:
        if name not in known:
            parser.error(f"no scenario {name!r}; there are: {', '.join(known)}")
    options.seed = random.randrange(1 << 30) if options.seed is None else options.seed
    return run(options, [n for n in known if n != "figures"] if not options.scenario else options.scenario, known)


def run(options, names, known):
    from benchlib import BenchError, process
    from raylib import Failed, lab

    process.signals_end_it()
    cleanup = process.Cleanup()
    failed = []
    try:
        place = lab.Lab(options, cleanup)
        for name in names:
            print(f"== {name}: {known[name].__doc__.splitlines()[0]}", flush=True)
            start = time.monotonic()
            try:
                known[name](place)
            except (Failed, BenchError) as err:
                failed.append(name)
                print(f"   FAILED after {time.monotonic() - start:.0f} s: {err}" + (f" (--seed {options.seed})" if name == "kills" else ""), flush=True)
                place.end_nodes()
            else:
                print(f"   held ({time.monotonic() - start:.0f} s)", flush=True)
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        cleanup.run(lambda text: print(text, file=sys.stderr))
    print(f"{len(names) - len(failed)} of {len(names)} held" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
