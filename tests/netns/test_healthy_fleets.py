# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleets drawn by seed: whatever the intent, `site` makes it and verification finds nothing wrong,
neither with packets nor with what the nodes show; a second run changes nothing."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from fleet import Fleet, Spec
from share import EVERY

SEED = int(os.environ.get("PODNET_SEED", "20261123"))
FLEETS = 20
DUAL = ("ipv4", "ipv6")


def drawn(number: int) -> Spec:
    """Only what the plan refuses is left out: routed needs one segment or routers that know."""
    chance = random.Random(f"{SEED} {number}")
    mode = chance.choice(["auto", "auto", "routed", "vxlan"])
    underlay = chance.choice([DUAL, DUAL, ("ipv4",), ("ipv6",)])
    direct = mode != "vxlan"
    pods = chance.choice([DUAL, ("ipv4",), ("ipv6",)])
    if direct:
        # A direct route needs an underlay of the family of the pods.
        pods = tuple(family for family in pods if family in underlay) or underlay
    segments = {"rack-a": chance.randint(1, 3)}
    if mode != "routed" and chance.random() < 0.7:
        segments["rack-b"] = chance.randint(1, 2)
    extra: dict[str, Any] = {"podnet_verify_timeout_ms": 400}
    if chance.random() < 0.5:
        extra |= {"podnet_vni": chance.randint(1, 9999)}
    if chance.random() < 0.3:
        extra |= {"podnet_vxlan_port": chance.choice([8472, 4790])}
    if chance.random() < 0.3:
        extra |= {"podnet_mtu": chance.choice([1280, 1400])}
    if chance.random() < 0.3:
        extra |= {"podnet_bridge": chance.choice(["cni0", "pods"])}
    return Spec(mode, pods, underlay, segments, extra)


@pytest.mark.parametrize("number", range(0, FLEETS, EVERY))
def test_nothing_is_wrong_with_a_healthy_fleet(number: int, tmp_path: Path) -> None:
    spec = drawn(number)
    print(f"seed {SEED}, fleet {number}: {spec}")
    with Fleet(tmp_path, spec, f"healthy-{number}") as fleet:
        fleet.play("site", "-e", "podnet_verify_model=true", check=True)
        bad = [r for r in fleet.results() if r["status"] in ("failure", "error")]
        again = fleet.play("converge", check=True)
        model = tmp_path / ".podnet" / "observed" / "model.json"
        assert not bad
        assert not json.loads(model.read_text(encoding="utf-8"))["disagreements"]
        assert f"{len(fleet.nodes)} nodes read, 0 to change" in again.stdout
