# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job in the lab: every mode and family brought up, verified, and stable."""

from __future__ import annotations

from pathlib import Path

import pytest
from fleet import DUMP, FILES, Fleet, Spec, without_timers

ONE_SEGMENT = {"rack-a": 2}
TWO_SEGMENTS = {"rack-a": 2, "rack-b": 1}
V4, V6, DUAL = ("ipv4",), ("ipv6",), ("ipv4", "ipv6")

CASES = {
    "routed-v4": Spec("routed", V4, V4, ONE_SEGMENT),
    "routed-v6": Spec("routed", V6, V6, ONE_SEGMENT),
    "routed-dual": Spec("routed", DUAL, DUAL, ONE_SEGMENT),
    "vxlan-v4": Spec("vxlan", V4, V4, TWO_SEGMENTS),
    "vxlan-v6": Spec("vxlan", V6, V6, TWO_SEGMENTS),
    "vxlan-dual": Spec("vxlan", DUAL, V4, TWO_SEGMENTS),
    "vxlan-dual-over-v6": Spec("vxlan", DUAL, V6, TWO_SEGMENTS),
    "auto-v4": Spec("auto", V4, V4, TWO_SEGMENTS),
    "auto-v6": Spec("auto", V6, V6, TWO_SEGMENTS),
    "auto-dual": Spec("auto", DUAL, DUAL, TWO_SEGMENTS),
}
OVERHEAD = {"routed": {"ipv4": 0, "ipv6": 0}, "vxlan": {"ipv4": 50, "ipv6": 70}}


@pytest.mark.parametrize("name", CASES)
def test_mode_comes_up_verified_and_second_run_changes_nothing(name: str, tmp_path: Path) -> None:
    spec = CASES[name]
    with Fleet(tmp_path, spec, f"t-{name}"[:14].rstrip("-")) as fleet:
        fleet.play("site", check=True)
        results = fleet.results()
        assert {r["status"] for r in results} <= {"success", "skipped"}
        pairs = {(r["source"], r["target"]) for r in results if r["kind"] == "tcp"}
        assert {(a, b) for a in fleet.nodes for b in fleet.nodes if a != b} <= pairs
        mtu = {r["kind"] for r in results}
        assert {"mtu_pass", "mtu_exceed"} <= mtu

        before = {n: _snapshot(fleet, n) for n in fleet.nodes}
        again = fleet.play("converge", check=True)
        assert "0 to change" in again.stdout, again.stdout
        assert {n: _snapshot(fleet, n) for n in fleet.nodes} == before


def _snapshot(fleet: Fleet, node: str) -> tuple[str, str]:
    return without_timers(fleet.ssh(node, DUMP)), fleet.ssh(node, FILES)
