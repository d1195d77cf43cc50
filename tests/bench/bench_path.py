# SPDX-License-Identifier: GPL-3.0-or-later
"""Topic `path`: what the kernel does for a byte there and back, for each wiring of `datapath`.

`make bench T=path`. Both ends run on one processor. Waking the other one takes several times as
long as the way of a packet, and another time with every connection; here it is the way alone that
is measured. About seven minutes in ten rounds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from typing import Any

from bench_datapath import labs, turns, wired
from store import Row, Store

ONE = "-lca 1 -rca 1"


def summary(rows: list[Row]) -> Any:
    """For the page. Imported late, because who only measures needs nothing that draws."""
    from summaries import SUMMARIES

    return SUMMARIES["path"](rows)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS") or 10))
    asked = words.parse_args()
    store = Store("path", fresh=True)
    with labs() as (sides, hand):
        for row in turns(asked.rounds):
            with wired(sides, hand, row["wiring"]) as side:
                trip = side.round_trip(row["path"], row["family"], 1, ONE)
            store.add({**row, "round_trip_us": trip})


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}\n{error.stderr or ''}")
