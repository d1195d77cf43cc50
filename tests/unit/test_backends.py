# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of modes, and what each backend refuses."""

from __future__ import annotations

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.backends import (
    BACKENDS,
    MODES,
    serving,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.problems import ProblemsError
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.schema import FLEET_KEYS
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import backend_of, compile_fleet
from fleets import fabrics
from hypothesis import given, settings


def fleet(mode: str, underlay: tuple[str, str], segments: tuple[str, str], **more: object) -> dict:  # type: ignore[type-arg]
    return {
        f"n{i}": {
            "podnet_cluster_cidrs": ["10.64.0.0/16"],
            "podnet_mode": mode,
            "podnet_pod_cidrs": [f"10.64.{i}.0/24"],
            "podnet_underlay_addresses": [address],
            "podnet_segment": segment,
            **more,
        }
        for i, (address, segment) in enumerate(zip(underlay, segments, strict=True), 1)
    }


V4, V6, MIXED = (
    ("192.0.2.1", "192.0.2.2"),
    ("2001:db8::1", "2001:db8::2"),
    ("192.0.2.1", "2001:db8::2"),
)
SAME, APART = ("a", "a"), ("a", "b")


def test_the_schema_and_the_registry_know_the_same_modes() -> None:
    mode = next(key for key in FLEET_KEYS if key.name == "podnet_mode")
    assert set(mode.choices) == set(MODES)
    assert {backend.name for backends in MODES.values() for backend in backends} == set(BACKENDS)


@pytest.mark.parametrize(
    ("mode", "underlay", "segments", "backend"),
    [
        ("auto", V4, SAME, "host_routes"),
        ("auto", V4, APART, "vxlan"),
        ("auto", V6, SAME, "vxlan"),
        ("routed", V4, SAME, "host_routes"),
        ("vxlan", V4, SAME, "vxlan"),
        ("vxlan", V6, APART, "vxlan"),
    ],
)
def test_backend_of_a_pair(
    mode: str, underlay: tuple[str, str], segments: tuple[str, str], backend: str
) -> None:
    assert backend_of(compile_fleet(fleet(mode, underlay, segments)), "n1", "n2", "ipv4") == backend


@pytest.mark.parametrize(
    ("mode", "underlay", "segments", "words"),
    [
        ("routed", V4, APART, "n1 is in segment a, n2 in b"),
        ("routed", V6, SAME, "n1 has no ipv4 underlay address"),
        ("vxlan", MIXED, SAME, "no address family that every node's underlay has"),
        ("auto", MIXED, APART, "no address family that every node's underlay has"),
    ],
)
def test_refusals_say_why(
    mode: str, underlay: tuple[str, str], segments: tuple[str, str], words: str
) -> None:
    with pytest.raises(ProblemsError) as caught:
        compile_fleet(fleet(mode, underlay, segments))
    assert len(caught.value.problems) == 1
    assert words in caught.value.problems[0].found


def test_a_declared_family_that_a_node_lacks_is_named() -> None:
    with pytest.raises(ProblemsError, match="podnet_vxlan_family is ipv6, and n1 has no such"):
        compile_fleet(fleet("vxlan", V4, SAME, podnet_vxlan_family="ipv6"))


@settings(max_examples=40, deadline=None)
@given(fabrics())
def test_a_backend_serves_exactly_when_it_does_not_refuse(fabric: object) -> None:
    for node in fabric.nodes:  # type: ignore[attr-defined]
        for peer in fabric.nodes:  # type: ignore[attr-defined]
            if node is peer:
                continue
            for family in fabric.families:  # type: ignore[attr-defined]
                chosen = serving(fabric, node, peer, family)  # type: ignore[arg-type]
                assert chosen is not None
                first = next(
                    b
                    for b in MODES[fabric.mode]  # type: ignore[attr-defined]
                    if b.refusal(fabric, node, peer, family) is None  # type: ignore[arg-type]
                )
                assert first is chosen
