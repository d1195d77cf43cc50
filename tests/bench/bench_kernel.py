# SPDX-License-Identifier: GPL-3.0-or-later
"""Topic `kernel`: what installing a node's routes takes, in podnet's form and in others.

`make bench T=kernel`. One namespace, one cable; every form is one `ip -batch` of all its lines, as
podnet runs them, and the forms take turns. Each begins in a new namespace.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from spaces import Spaces
from store import REPO, Row, Store

sys.path[:0] = [str(REPO / ".ansible/collections")]
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import (  # noqa: E402  above
    MARK,
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


def podnet(version: int, found: list[Peer]) -> list[str]:
    """The lines of `routes.batch`."""
    routes = tuple(Route(dst, via, SOURCE[version]) for dst, via in found)
    return lines(routes, "ip")


def one_next_hop(version: int, found: list[Peer]) -> list[str]:
    """What no fleet has: all routes by one gateway, the least that the kernel can do."""
    return podnet(version, [(dst, found[0][1]) for dst, _via in found])


def by_nexthop_objects(version: int, found: list[Peer]) -> list[str]:
    hops = [
        f"nexthop replace id {i + 1} via {via} dev eth0 proto 112"
        for i, (_d, via) in enumerate(found)
    ]
    source = SOURCE[version]
    return hops + [
        f"route replace {dst} nhid {i + 1} src {source} {MARK}" for i, (dst, _v) in enumerate(found)
    ]


def by_metrics(version: int, found: list[Peer]) -> list[str]:
    """The metric follows the destination, so that a next hop is still replaced in place."""
    plain = podnet(version, found)
    return [line.replace("metric 112", f"metric {112 + i % 1024}") for i, line in enumerate(plain)]


FORMS: dict[str, Callable[[int, list[Peer]], list[str]]] = {
    "podnet": podnet,
    "one next hop": one_next_hop,
    "nexthop objects": by_nexthop_objects,
    "1024 metrics": by_metrics,
}


def prepare(spaces: Spaces) -> None:
    spaces.cable(("node", "eth0"), ("others", "eth0"))
    spaces.batch(
        "node",
        [
            "addr add 172.16.0.1/12 dev eth0",
            "addr add 2001:db8::1/64 dev eth0",
            f"addr add {SOURCE[4]}/32 dev lo",
            f"addr add {SOURCE[6]}/128 dev lo",
        ],
    )


def clean(spaces: Spaces) -> None:
    spaces.inside(
        "node",
        "sh",
        "-c",
        "ip route flush proto 112; ip -6 route flush proto 112; "
        "ip nexthop flush proto 112 >/dev/null",
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
                        began = time.monotonic()
                        spaces.inside("node", "ip", "-batch", "-", given=text)
                        took = time.monotonic() - began
                        clean(spaces)
                    row = {"form": form, "routes": count, "family": f"ipv{version}"}
                    store.add({"round": number, **row, "seconds": round(took, 4)})


if __name__ == "__main__":
    main()
