# SPDX-License-Identifier: GPL-3.0-or-later
"""The faults of mode bgp on real FRR, as in test_faults_catalogue.py: seen, and named right. What
concerns no packet is for `drift`. `make test` takes every fourth."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence

import pytest
from catalogue_base import Fault
from catalogue_bgp import BGP, BgpFault
from faultbench import FaultBench, judge, names, write
from fleet import Fleet, Spec
from share import WHERE, share

SECRET = "tell-Nobody/of&this|one"
QUICK = {
    "podnet_bgp_password": SECRET,
    "podnet_bgp_listen_ranges": ["192.0.2.0/24", "2001:db8:a::/64"],
    "podnet_verify_timeout_ms": 400,
    "podnet_verify_attempts": 2,
    "podnet_verify_bgp_seconds": 3,
}
# Sessions stand and prefixes are in the kernel. FRR takes its time with a peer that fell often.
SETTLED = r"""for _ in $(seq 600); do
  n=$(for f in 4 6; do ip -$f route show proto bgp; done | grep -c via)
  s=$(vtysh -N podnet -c 'show bgp summary json' | grep -c '"state":"Established"')
  [ "$n $s" != "6 WANTED" ] || exit 0; sleep 0.2
done; echo "$n routes, $s sessions"; vtysh -N podnet -c 'show bgp summary'; exit 1"""


LEARNED = "ip route show proto bgp; ip -6 route show proto bgp"


class BgpBench(FaultBench):
    """Learned routes are waited for; FRR numbers and groups their next hops as it goes."""

    def look(self, node: str) -> str:
        lines = super().look(node).splitlines()
        return "\n".join(x for x in lines if "proto bgp" not in x and "nexthop via" not in x)

    def inject(self, fault: Fault) -> None:
        """What it makes of routes has to arrive everywhere; a verification is quick enough to be
        there before."""
        super().inject(fault)
        routes: list[str] = []
        for _look in range(20):
            before, routes = routes, [self.fleet.ssh(n, LEARNED) for n in self.fleet.nodes]
            if before == routes:
                return
            time.sleep(1.5)
        raise AssertionError(f"routes still change after {fault.name}: {routes}")

    def heal(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            self.run(fault.place, fault.undo)
        for node in self.fleet.nodes:
            sessions = "6" if node in self.fleet.nodes[:2] else "4"
            self.fleet.ssh(node, SETTLED.replace("WANTED", sessions))
            assert self.look(node) == self.well[node], (node, faults)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BgpBench]:
    spec = Spec("bgp", segments={"rack-a": 4}, extra=QUICK)
    fleet = Fleet(tmp_path_factory.mktemp("bgpfaults"), spec, "bgpfaults")
    for node in fleet.nodes[:2]:
        fleet.data["podnet"]["hosts"][node]["podnet_bgp_reflector"] = True
    fleet.write()
    with fleet:
        fleet.play("converge", check=True)
        # Healthy: nothing is found wrong, by packets or by what nodes show.
        fleet.play("verify", "-e", "podnet_verify_model=true", check=True)
        path = fleet.folder / ".podnet" / "observed" / "model.json"
        assert json.loads(path.read_text(encoding="utf-8"))["disagreements"] == []
        fleet.play("drift", check=True)
        bench = BgpBench(fleet)
        yield bench
        write(bench, "faults of bgp")


def drift(bench: BgpBench, fault: BgpFault) -> None:
    """Neither a packet nor a prefix of the fleet is lost."""
    try:
        bench.inject(fault)
        code, bad, _causes, text = bench.verify()
        found = bench.fleet.play("drift")
    finally:
        bench.heal([fault])
    path = bench.fleet.folder / ".podnet" / "status.json"
    causes = json.loads(path.read_text(encoding="utf-8"))["causes"]
    shown = "; ".join(f"{c['node']}: {c['kind']} {c['object']}" for c in causes)
    right = bool(causes) and all(names(fault, cause) for cause in causes)
    bench.rows.append((f"{fault.name} (drift)", found.returncode == 2, right, bad, shown))
    assert (code, bad) == (0, set()), text
    assert found.returncode == 2 and right, found.stdout
    assert causes[0]["repair"].split()[0] in found.stdout


@pytest.mark.parametrize("fault", list(share(BGP)), ids=lambda fault: fault.name)
def test_fault(bench: BgpBench, fault: BgpFault) -> None:
    print(WHERE)
    if fault.silent:
        drift(bench, fault)
        return
    judge(bench, [fault], fault.name)
    assert bench.rows[-1][2], bench.rows[-1]


def test_well_again(bench: BgpBench) -> None:
    assert bench.verify()[:3] == (0, set(), [])
    bench.fleet.play("drift", check=True)


def test_the_password_is_in_nothing_that_is_kept(bench: BgpBench) -> None:
    """Reports, evidence and causes, of the faults above as well."""
    kept = [path for path in bench.fleet.folder.rglob("*") if path.is_file()]
    observed = [path for path in kept if "observed" in path.parts]
    assert len(observed) > 10
    for path in kept:
        if path.name != "hosts.yml" and "labs" not in path.parts:
            assert SECRET.encode() not in path.read_bytes(), path
    look = next(path for path in observed if path.parent.name == "heard")
    assert "@planned@" in look.read_text(encoding="utf-8")
