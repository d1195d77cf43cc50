# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge: healthy is all success, and one spoilt observation flips what it concerns only."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import pod_mtu
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.checks import (
    targets_of,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.observations import (
    Missing,
    canonical,
    read_probes,
    read_start,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.results import Result
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.scene import Run
from hypothesis import given, settings
from hypothesis import strategies as st
from observed import OUTSIDE, Observed, fabric_of, healthy

FABRIC = fabric_of((2, 1))
HEALTHY = healthy(FABRIC)
BEFORE = {result.id: result.status for result in HEALTHY.judge()}
PROBES = [(n, a["id"]) for n, saved in HEALTHY.probe.items() for a in saved["probes"]]


def flips(observed: Observed) -> dict[str, str]:
    """Results that are not what they were: id → status."""
    found = {result.id: result.status for result in observed.judge()}
    assert set(found) == set(BEFORE), "the set of results must not depend on observations"
    return {name: status for name, status in found.items() if status != BEFORE[name]}


def concerned(probe: str, failed: bool) -> dict[str, str]:
    """What one lost (or unsent) probe must flip."""
    kind, rest = probe.split("/", 1)
    bad = "failure" if failed else "error"
    if kind == "mtu_pass":
        return {probe: bad, f"mtu_exceed/{rest}": "skipped" if failed else "error"}
    if kind == "outside":
        return {probe: bad, f"masquerade/{rest}": "skipped" if failed else "error"}
    return {probe: bad}


def answer_of(observed: Observed, node: str, probe: str) -> dict[str, Any]:
    answers: list[dict[str, Any]] = observed.probe[node]["probes"]
    return next(answer for answer in answers if answer["id"] == probe)


def test_healthy_observations_are_all_success() -> None:
    assert {result.status for result in HEALTHY.judge()} == {"success"}


@pytest.mark.parametrize("mode", ["auto", "vxlan"])
@pytest.mark.parametrize("sizes", [(1,), (2,), (2, 2), (1, 1, 1)])
@pytest.mark.parametrize("masquerade", [["ipv4", "ipv6"], ["ipv6"], []])
def test_healthy_fleets_of_many_shapes(
    mode: str, sizes: tuple[int, ...], masquerade: list[str]
) -> None:
    fabric = fabric_of(sizes, podnet_mode=mode, podnet_masquerade=masquerade)
    assert {result.status for result in healthy(fabric).judge()} == {"success"}


def test_every_ordered_pair_and_family_is_judged_for_every_kind() -> None:
    results = HEALTHY.judge()
    names = [node.name for node in FABRIC.nodes]
    kinds = ("icmp", "tcp", "udp", "source", "mtu_pass", "mtu_exceed", "node_to_pod", "pod_to_node")
    for kind in kinds:
        found = {(r.source, r.target, r.family) for r in results if r.kind == kind}
        assert found == {(a, b, f) for a in names for b in names for f in ("ipv4", "ipv6")}, kind
    assert {r.promise for r in results} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("more", "sent"),
    [
        ({}, True),
        ({"podnet_mode": "vxlan"}, False),
        ({"sizes": (3,)}, False),
        ({"sizes": (3,), "podnet_mtu": 1400}, True),
        ({"families": ("ipv4",)}, False),
    ],
)
def test_pieces_are_sent_where_routes_have_the_mtu(more: dict[str, Any], sent: bool) -> None:
    fabric = fabric_of(**more)
    results = [r for r in healthy(fabric).judge() if r.kind == "mtu_pieces"]
    segment = {node.name: node.segment for node in fabric.nodes}
    direct = {(a, b) for a in segment for b in segment if a != b and segment[a] == segment[b]}
    assert {(r.source, r.target) for r in results} == (direct if sent else set())
    assert {(r.family, r.backend) for r in results} <= {("ipv6", "host_routes")}


def test_probes_of_a_node_are_what_is_promised() -> None:
    targets = targets_of(HEALTHY.scene(), "node-01")
    sizes = {t["kind"]: t["size"] for t in targets}
    mtu = pod_mtu(FABRIC)
    assert (sizes["mtu_pass"], sizes["mtu_exceed"], sizes["icmp"]) == (mtu, mtu + 1, None)
    assert {t["port"] for t in targets if t["kind"] in ("tcp", "udp")} == {7717}
    assert {t["from"] for t in targets} == {"a", "node"}
    own = pod_of(HEALTHY, index=1)["addresses"]["ipv4"]
    assert any(t["address"] == own and t["kind"] == "udp" for t in targets)


def test_ids_are_unique() -> None:
    ids = [result.id for result in HEALTHY.judge()]
    assert len(ids) == len(set(ids))


@given(st.sampled_from(PROBES), st.booleans())
@settings(deadline=None, max_examples=150)
def test_one_probe_flips_exactly_what_it_concerns(probe: tuple[str, str], looked: bool) -> None:
    node, name = probe
    observed = HEALTHY.copy()
    answer = answer_of(observed, node, name)
    answer.update(looked=looked, ok=False, source_seen=None, rtt_us=None)
    assert flips(observed) == concerned(name, failed=looked)


@given(st.sampled_from(PROBES))
@settings(deadline=None, max_examples=60)
def test_a_probe_that_is_not_reported_is_an_error(probe: tuple[str, str]) -> None:
    node, name = probe
    observed = HEALTHY.copy()
    answers = observed.probe[node]["probes"]
    answers.remove(answer_of(observed, node, name))
    assert flips(observed) == concerned(name, failed=False)


@given(st.sampled_from([p for p in PROBES if p[1].split("/")[0] in ("tcp", "udp", "outside")]))
@settings(deadline=None, max_examples=60)
def test_a_foreign_source_flips_exactly_the_source_check(probe: tuple[str, str]) -> None:
    node, name = probe
    observed = HEALTHY.copy()
    answer_of(observed, node, name)["source_seen"] = "198.18.0.1"
    kind, rest = name.split("/", 1)
    judged = "masquerade" if kind == "outside" else "source"
    assert flips(observed) == {f"{judged}/{rest}": "failure"}


def test_too_large_packets_prove_nothing_when_no_packet_passes() -> None:
    observed = HEALTHY.copy().cut("node-01", "node-03")
    changed = flips(observed)
    for family in ("ipv4", "ipv6"):
        assert changed[f"mtu_exceed/{family}/node-01/node-03"] == "skipped"
        assert changed[f"source/{family}/node-01/node-03"] == "skipped"
        assert changed[f"tcp/{family}/node-01/node-03"] == "failure"
    assert {name.split("/", 2)[2] for name in changed} == {"node-01/node-03", "node-03/node-01"}


# --- pods --------------------------------------------------------------------------------------


def pod_of(observed: Observed, node: str = "node-01", index: int = 0) -> dict[str, Any]:
    pod: dict[str, Any] = observed.start[node]["observation"]["pods"][index]
    return pod


def local(observed: Observed) -> dict[str, str]:
    """Flipped results that no probe is needed for."""
    kinds = ("address", "unique", "mtu", "shared", "restart")
    return {n: s for n, s in flips(observed).items() if n.split("/")[0] in kinds}


@pytest.mark.parametrize("address", ["10.64.1.1", "10.64.2.9", "192.0.2.11", None])
def test_an_address_outside_the_range_or_the_gateway_fails(address: str | None) -> None:
    observed = HEALTHY.copy()
    pod_of(observed)["addresses"]["ipv4"] = address
    for container in pod_of(observed)["containers"]:
        interface = container["interfaces"][1]
        interface["addresses"] = [f"{address}/24", *interface["addresses"][1:]]
    assert local(observed) == {"address/ipv4/node-01/podnet-verify-a": "failure"}


def test_a_duplicate_address_fails_on_both_nodes() -> None:
    observed = HEALTHY.copy()
    pod_of(observed, "node-02")["addresses"]["ipv4"] = pod_of(observed)["addresses"]["ipv4"]
    changed = local(observed)
    assert changed["unique/ipv4/node-01/pods"] == "failure"
    assert changed["unique/ipv4/node-02/pods"] == "failure"
    assert "unique/ipv4/node-03/pods" not in changed


def test_two_pods_of_one_node_with_one_address_fail() -> None:
    observed = HEALTHY.copy()
    pod_of(observed, index=1)["addresses"]["ipv6"] = pod_of(observed)["addresses"]["ipv6"]
    assert local(observed)["unique/ipv6/node-01/pods"] == "failure"


def test_a_wrong_pod_mtu_fails() -> None:
    observed = HEALTHY.copy()
    pod_of(observed, index=1)["mtu"] = 1500
    assert local(observed) == {"mtu/any/node-01/podnet-verify-b": "failure"}


@pytest.mark.parametrize("container", [1, 2])
@pytest.mark.parametrize(
    "change",
    [
        {"netns": 1},
        {"interfaces": []},
        {"interfaces": [{"name": "eth0", "mac": "0a:00:00:00:00:01", "addresses": []}]},
    ],
)
def test_containers_that_do_not_share_fail(container: int, change: dict[str, Any]) -> None:
    observed = HEALTHY.copy()
    pod_of(observed)["containers"][container].update(change)
    assert local(observed) == {"shared/any/node-01/podnet-verify-a": "failure"}


@pytest.mark.parametrize("gone", [True, False])
def test_a_container_that_was_not_observed_is_an_error(gone: bool) -> None:
    observed = HEALTHY.copy()
    last = pod_of(observed)["containers"].pop()
    if not gone:
        pod_of(observed)["containers"].append({**last, "netns": 0, "interfaces": []})
    assert local(observed) == {"shared/any/node-01/podnet-verify-a": "error"}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"addresses": {"ipv4": "10.64.1.9"}}, "failure"),
        ({"addresses": {}}, "failure"),
        ({"mac": "0a:00:00:00:00:01"}, "failure"),
        ({"pid": 4242}, "error"),
    ],
)
def test_a_restart_must_keep_ip_and_mac_and_replace_the_process(
    change: dict[str, Any], status: str
) -> None:
    observed = HEALTHY.copy()
    observed.start["node-01"]["observation"]["restart"]["after"].update(change)
    assert flips(observed) == {"restart/any/node-01/restart": status}


def test_no_restart_is_an_error() -> None:
    observed = HEALTHY.copy()
    observed.start["node-01"]["observation"]["restart"] = None
    assert flips(observed) == {"restart/any/node-01/restart": "error"}


# --- could not look ----------------------------------------------------------------------------


def concerning(results: list[Result], node: str) -> list[Result]:
    return [result for result in results if node in (result.source, result.target)]


def test_an_unreachable_node_is_an_error_and_the_others_are_judged() -> None:
    observed = healthy(FABRIC)
    observed.unreachable("node-02")
    # The others never had an address to probe there, but its underlay address is known.
    for name in ("node-01", "node-03"):
        observed.probe[name]["probes"] = [
            answer
            for answer in observed.probe[name]["probes"]
            if not answer["id"].endswith("/node-02") or answer["id"].startswith("pod_to_node")
        ]
    observed.lose(lambda _node, answer: answer["id"].endswith("/node-02"))
    results = observed.judge()
    for result in concerning(results, "node-02"):
        down = result.kind == "pod_to_node" and result.source != "node-02"
        assert result.status == ("failure" if down else "error"), result
        assert result.remedy and "node-0" in result.remedy
    rest = [r for r in results if "node-02" not in (r.source, r.target)]
    assert {result.status for result in rest} == {"success"}


def test_a_node_that_goes_down_after_the_start_fails_for_those_who_probe_it() -> None:
    results = HEALTHY.copy().down("node-02").judge()
    towards = [r for r in results if r.target == "node-02" and r.source != "node-02"]
    assert {r.status for r in towards if r.kind not in ("mtu_exceed", "source")} == {"failure"}
    assert {r.status for r in towards if r.kind in ("mtu_exceed", "source")} == {"skipped"}
    away = [r for r in results if r.source == "node-02" and r.target != "node-02"]
    assert {r.status for r in away} == {"error"}
    rest = [r for r in results if "node-02" not in (r.source, r.target)]
    assert {result.status for result in rest} == {"success"}


def test_a_pod_that_was_not_started_is_an_error() -> None:
    observed = HEALTHY.copy()
    observation = observed.start["node-02"]["observation"]
    observation["pods"].pop(0)
    observation["errors"] = ["podnet-verify-a: ADD failed: no IP addresses available"]
    results = {r.id: r for r in observed.judge()}
    assert results["tcp/ipv4/node-01/node-02"].status == "error"
    assert "no IP addresses available" in results["tcp/ipv4/node-01/node-02"].found
    assert results["address/ipv4/node-02/podnet-verify-a"].status == "error"
    assert results["address/ipv4/node-02/podnet-verify-b"].status == "success"
    assert results["tcp/ipv4/node-01/node-03"].status == "success"


def test_nothing_at_all_is_all_errors() -> None:
    results = Observed(FABRIC, HEALTHY.run, {}, {}).judge()
    assert {result.status for result in results} == {"error"}


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(st.sampled_from(["pods", "restart", "errors"]), JUNK)
@settings(deadline=None)
def test_a_malformed_observation_never_raises_and_never_succeeds(key: str, junk: Any) -> None:
    data = {**HEALTHY.start["node-01"]["observation"], key: junk}
    read_start({"observation": data})
    assert isinstance(read_start({"observation": junk}), Missing)
    assert isinstance(read_start(junk if not isinstance(junk, dict) else None), Missing)
    assert isinstance(read_probes({"probes": [junk]}), Missing)


# --- outside, subsets, texts -------------------------------------------------------------------


def test_without_outside_hosts_the_check_is_skipped_with_its_reason() -> None:
    run = Run(tuple(node.name for node in FABRIC.nodes))
    results = [r for r in healthy(FABRIC, run).judge() if r.kind == "outside"]
    assert {r.status for r in results} == {"skipped"}
    assert "podnet_verify_outside" in results[0].found


def test_an_outside_host_of_a_family_that_pods_lack_is_skipped() -> None:
    fabric = fabric_of((2,), families=("ipv4",))
    results = [r for r in healthy(fabric).judge() if r.kind in ("outside", "masquerade")]
    assert {r.status for r in results if r.family == "ipv4"} == {"success"}
    assert {r.status for r in results if r.family == "ipv6"} == {"skipped"}


def test_an_outside_host_that_tells_nothing_proves_arrival_only() -> None:
    observed = HEALTHY.copy().spoil(
        lambda _node, answer: answer["id"].startswith("outside/"), source_seen=None
    )
    assert set(flips(observed).values()) == {"skipped"}
    assert all(name.startswith("masquerade/") for name in flips(observed))


def test_a_pod_that_is_not_masqueraded_although_declared_fails() -> None:
    observed = HEALTHY.copy()
    own = pod_of(observed)["addresses"]["ipv4"]
    observed.spoil(lambda n, a: n == "node-01" and "outside/ipv4" in a["id"], source_seen=own)
    assert flips(observed) == {"masquerade/ipv4/node-01/203.0.113.10:7717": "failure"}


def test_a_node_may_masquerade_to_any_address_of_its_own_but_a_gateway() -> None:
    """While it moves it has two, and the kernel takes the first."""
    name, gateway = "node-01", FABRIC.by_name["node-01"].gateways["ipv4"]
    for seen, own, verdicts in (
        ("192.0.2.99", ["192.0.2.99", "2001:db8::99"], set()),
        ("192.0.2.99", ["192.0.2.98"], {"failure"}),
        (gateway, [gateway], {"failure"}),
    ):
        observed = HEALTHY.copy()
        observed.start[name]["observation"]["addresses"] = own
        observed.spoil(lambda n, a: n == "node-01" and "outside/ipv4" in a["id"], source_seen=seen)
        assert set(flips(observed).values()) == verdicts


def test_a_subset_judges_only_what_was_asked() -> None:
    results = healthy(FABRIC, Run(("node-01", "node-03"), outside=OUTSIDE)).judge()
    assert {r.status for r in results} == {"success"}
    assert "node-02" not in {name for r in results for name in (r.source, r.target)}


def test_failures_say_what_to_do_and_successes_say_nothing() -> None:
    for result in HEALTHY.copy().cut("node-01", "node-03").judge():
        assert (result.remedy is None) == (result.status in ("success", "skipped"))
    failed = next(r for r in HEALTHY.copy().cut("node-01", "node-03").judge() if r.remedy)
    assert "route replace 10.64.3.0/24" in failed.remedy
    assert "fdb replace" in failed.remedy


def test_addresses_are_compared_in_one_form() -> None:
    assert canonical("FD00:64::0005/64") == "fd00:64::5"
    assert canonical("::ffff:10.64.1.5") == "10.64.1.5"
    assert canonical("fe80::1%eth0") == "fe80::1"
