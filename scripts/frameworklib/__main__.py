"""The command line of scripts/frameworks."""

import argparse
import random
import sys
import time
import traceback

from benchlib import BenchError, process
from frameworklib import Failed, lab, life, table


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/frameworks", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Trains with real libraries on trainfs, kills them, resumes them elsewhere. Without names, with all.",
        epilog="libraries:\n" + "".join(f"  {f.name:12} {f.what}\n" for f in life.FRAMEWORKS.values()))
    parser.add_argument("name", nargs="*", metavar="NAME")
    parser.add_argument("--steps", type=int, default=8, metavar="N", help="checkpoints that a whole run saves (8, at least 5)")
    parser.add_argument("--seed", type=int, default=None, help="repeats an earlier run's choices of when to kill")
    parser.add_argument("--time", type=int, default=900, metavar="SECONDS", help="begin with no further library after this (900)")
    parser.add_argument("--dir", default="/var/tmp", help="where the temporary directory is made (/var/tmp)")
    parser.add_argument("--keep", action="store_true", help="keep the temporary directory, logs and bucket included")
    options = parser.parse_args()
    for name in options.name:
        if name not in life.FRAMEWORKS:
            parser.error(f"no library {name!r}; there are: {', '.join(life.FRAMEWORKS)}")
    if options.steps < 5:
        parser.error("--steps has to be 5 at least: some before the kill, and some after it")
    options.seed = random.randrange(1 << 30) if options.seed is None else options.seed
    return run(options, options.name or list(life.FRAMEWORKS))


def run(options, names):
    process.signals_end_it()
    cleanup, start, lives = process.Cleanup(), time.monotonic(), []
    try:
        place = lab.Lab(options, cleanup)
        for name in names:
            one = life.Life(place, life.FRAMEWORKS[name])
            lives.append(one)
            if time.monotonic() - start > options.time:
                one.failed = "there was no time left (--time)"
                continue
            print(f"== {name}: {one.framework.what}", flush=True)
            try:
                one.live()
            except (Failed, BenchError) as err:
                one.failed = str(err)
                print(f"   FAILED (--seed {options.seed}): {err}", flush=True)
            finally:
                place.end_nodes()
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        cleanup.run(lambda text: print(text, file=sys.stderr))
    print("\n" + table.markdown(options, lives))
    return 1 if any(one.failed for one in lives) else 0


if __name__ == "__main__":
    sys.exit(main())
