"""Start-up time: from starting the process to `GET /health` answering 200."""

import argparse
import statistics
import sys

from benchmarks.service import NotStarted, Service
from benchmarks.tables import table, target

LIMIT_S = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this part."""
    parser.add_argument("--runs", type=int, default=5, help="how often (default 5)")
    parser.add_argument("--profile", default="embedded", help="(default embedded)")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print. Returns 1 if the service did not start."""
    seconds = []
    for number in range(arguments.runs):
        print(f"startup: run {number + 1} ...", file=sys.stderr, flush=True)
        try:
            with Service.of_profile(arguments.profile) as service:
                seconds.append(service.started_s)
        except NotStarted as error:
            print(f"startup: {error}", file=sys.stderr)
            return 1
    header = ["profile", "runs", "first s", "median s", "slowest s"]
    rows = [[arguments.profile, len(seconds), seconds[0], statistics.median(seconds), max(seconds)]]
    print(table(header, rows) + "\n\n" + target("start to healthy, median", statistics.median(seconds), LIMIT_S, "s"))
    return 0
