# SPDX-License-Identifier: GPL-3.0-or-later
"""Topic `kernel`: what installing a node's routes takes, in podnet's form and in others.

`make bench T=kernel`. One namespace, one cable; every form is one `ip -batch` of all its lines, as
podnet runs them, and the forms take turns. Each begins in a new namespace. Beside the wall time
stands the CPU time of `ip`, in which the kernel does the work: a busy machine changes it little.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from spaces import Spaces
from store import REPO, Row, Store

sys.path[:0] = [str(REPO / ".ansible/collections")]
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import (  # noqa: E402  above
    ROUTE_METRIC,
    ROUTE_PROTOCOL,
    Route,
    lines,
)

COUNTS = (100, 1000, 5000, 10000)
SOURCE = {4: "10.127.0.1", 6: "fd00:127::1"}
Peer = tuple[str, str]  # pod CIDR, next hop


def peers(version: int, count: int) -> list[Peer]:
    """Each has a next hop of its own, which is what a fleet's peers have."""
    if version == 6:
        return [(f"fd00:64:0:{i:x}::/64", f"2001:db8::{i + 2:x}") for i in range(count)]
    ranges = ipaddress.ip_network("10.0.0.0/10").subnets(new_prefix=24)
    hops = ipaddress.ip_network("172.16.0.0/12")
    return [(str(next(ranges)), str(hops[i + 2])) for i in range(count)]


def routes(version: int, found: list[Peer]) -> tuple[Route, ...]:
    return tuple(Route(dst, via, SOURCE[version]) for dst, via in found)


def podnet(version: int, found: list[Peer]) -> list[str]:
    """The lines of `routes.batch`."""
    return lines(routes(version, found), "ip")


def one_next_hop(version: int, found: list[Peer]) -> list[str]:
    """What no fleet has: all routes by one gateway, the least that the kernel can do."""
    return podnet(version, [(dst, found[0][1]) for dst, _via in found])


def by_nexthop_objects(version: int, found: list[Peer]) -> list[str]:
    hops = [
        f"nexthop replace id {i + 1} via {via} dev eth0 proto 112"
        for i, (_d, via) in enumerate(found)
    ]
    more = f"src {SOURCE[version]} proto {ROUTE_PROTOCOL} metric {ROUTE_METRIC}"
    return hops + [f"route replace {dst} nhid {i + 1} {more}" for i, (dst, _v) in enumerate(found)]


def one_metric(version: int, found: list[Peer]) -> list[str]:
    """podnet's form before ADR 0007."""
    return lines(tuple(replace(r, metric=ROUTE_METRIC) for r in routes(version, found)), "ip")


def a_metric_each(version: int, found: list[Peer]) -> list[str]:
    """The least that metrics can do."""
    each = enumerate(routes(version, found), ROUTE_METRIC)
    return lines(tuple(replace(route, metric=number) for number, route in each), "ip")


FORMS: dict[str, Callable[[int, list[Peer]], list[str]]] = {
    "podnet": podnet,
    "one next hop": one_next_hop,
    "nexthop objects": by_nexthop_objects,
    "one metric": one_metric,
    "a metric each": a_metric_each,
}


def prepare(spaces: Spaces) -> None:
    spaces.cable(("node", "eth0"), ("others", "eth0"))
    spaces.batch(
        "node",
        [
            "addr add 172.16.0.1/12 dev eth0",
            "addr add 2001:db8::1/64 dev eth0 nodad",
            f"addr add {SOURCE[4]}/32 dev lo",
            f"addr add {SOURCE[6]}/128 dev lo nodad",
        ],
    )


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def clean(spaces: Spaces) -> None:
    spaces.inside(
        "node",
        "sh",
        "-c",
        "ip route flush proto 112; ip -6 route flush proto 112; "
        "ip nexthop flush proto 112 >/dev/null 2>&1 || true",
    )


def summary(rows: list[Row]) -> Any:
    """For the page. Imported late, because who only measures needs nothing that draws."""
    from summaries import SUMMARIES

    return SUMMARIES["kernel"](rows)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS") or 5))
    rounds = words.parse_args().rounds
    store = Store("kernel", fresh=True)
    for number in range(rounds):
        for version in (4, 6):
            for count in COUNTS:
                for form, make in FORMS.items():
                    with Spaces("node", "others") as spaces:
                        prepare(spaces)
                        text = "\n".join(make(version, peers(version, count))) + "\n"
                        began, before = time.monotonic(), cpu()
                        spaces.inside("node", "ip", "-batch", "-", given=text)
                        took, spent = time.monotonic() - began, cpu() - before
                        clean(spaces)
                    row = {"form": form, "routes": count, "family": f"ipv{version}"}
                    row |= {"seconds": round(took, 4), "cpu": round(spent, 4)}
                    store.add({"round": number, **row})


if __name__ == "__main__":
    main()
