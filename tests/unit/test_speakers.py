# SPDX-License-Identifier: GPL-3.0-or-later
"""Mode bgp: what FRR says against the plan; each fault is named, and a healthy fleet is not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.causes.speakers import astray
from ansible_collections.podnet.fabric.plugins.plugin_utils.frr import SENT, with_password
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.state import UnreadableError
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import (
    plan_fleet,
    plan_node,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.speakers.heard import Path as Way
from ansible_collections.podnet.fabric.plugins.plugin_utils.speakers.heard import read
from ansible_collections.podnet.fabric.plugins.plugin_utils.speakers.look import script
from ansible_collections.podnet.fabric.plugins.plugin_utils.speakers.wanted import (
    reflectors_of,
    sessions,
    whole,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.learned import judge_learned
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.observations import Missing
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.scene import Run, Scene
from speaking import NAMES, Told, speaking_fleet

FOREIGN = "10.64.77.0/24"


def named(
    told: Told, foreign: dict[str, dict[str, str]] | None = None, but: tuple[str, ...] = ()
) -> list[tuple[str, ...]]:
    found = astray(told.scene(), foreign or {}, but)
    return [(cause.node, cause.kind, cause.object) for cause, _ids in found]


def test_a_healthy_fleet_is_not_accused() -> None:
    told = Told()
    assert named(told) == []
    for name in NAMES:
        assert whole(told.fabric, plan_node(told.fabric, name), told.heard[name], NAMES)


@pytest.mark.parametrize(("asked", "waits"), [(NAMES, True), (("node-3", "node-4"), False)])
def test_nobody_waits_for_what_only_a_node_has_that_was_not_asked(
    asked: tuple[str, ...], waits: bool
) -> None:
    """Its sessions and its range: it may be down for good."""
    told = lost(Told(), "node-1")
    plan, heard = plan_node(told.fabric, "node-3"), told.heard["node-3"]
    gone = [s.address for s in sessions(told.fabric, plan) if s.peer in ("node-1", "node-2")]
    sessions_left = {a: peer for a, peer in heard.sessions.items() if a not in gone}
    heard = replace(heard, sessions=sessions_left)
    assert whole(told.fabric, plan, heard, asked) != waits


def test_who_must_have_a_session_with_whom() -> None:
    fabric = speaking_fleet()
    of = {n: sessions(fabric, plan_node(fabric, n)) for n in NAMES}
    pairs = {(n, s.peer, s.family) for n in NAMES for s in of[n]}
    assert {(b, a, family) for a, b, family in pairs} == pairs, "both ends must know it"
    assert not {(n, p) for n, p, _f in pairs} & {("node-3", "node-4"), ("node-4", "node-3")}
    assert {s.peer for s in of["node-1"] if s.listens} == {"node-3", "node-4"}
    assert not any(s.listens for s in of["node-3"])
    assert reflectors_of(fabric, {"node-4"}) == {"node-1", "node-2"}


def lost(told: Told, owner: str = "node-3") -> Told:
    """Nobody has the IPv4 range of a node any more."""
    cidr = told.fabric.by_name[owner].pod_cidrs[0]
    for name in NAMES:
        told = told.forget(name, cidr) if name != owner else told
    return told


GROUP4 = "podnet-reflectors-ipv4"
FAULTS: dict[str, tuple[Callable[[Told], Told], list[tuple[str, str, str]]]] = {
    "shut down": (
        lambda t: t.configure(
            "node-3",
            " neighbor 192.0.2.11 peer-group",
            " neighbor 192.0.2.11 shutdown\n neighbor 192.0.2.11 peer-group",
        ).end_session("node-3", "node-1"),
        [("node-3", "BGP session", "neighbor 192.0.2.11")],
    ),
    "wrong AS": (
        lambda t: t.configure(
            "node-4", f"neighbor {GROUP4} remote-as 64512", f"neighbor {GROUP4} remote-as 65009"
        ).end_session("node-4", "node-1"),
        [("node-4", "AS", "neighbor 192.0.2.11")],
    ),
    "wrong AS of its own": (
        lambda t: t.configure("node-4", "router bgp 64512", "router bgp 65009").end_session(
            "node-4", "node-2"
        ),
        [("node-4", "AS", "router bgp 65009")],
    ),
    "another password": (
        lambda t: t.configure(
            "node-1",
            "neighbor podnet-clients-ipv4 password @planned@",
            "neighbor podnet-clients-ipv4 password @other@",
        ).end_session("node-1", "node-4"),
        [("node-1", "password", "neighbor podnet-clients-ipv4")],
    ),
    "not announced": (
        lambda t: lost(t).configure("node-3", "  network 10.64.3.0/24\n", ""),
        [("node-3", "announcement", "10.64.3.0/24")],
    ),
    "filtered where it leaves": (
        lambda t: lost(t).configure(
            "node-3",
            "ip prefix-list podnet-own-ipv4 permit 10.64.3.0/24",
            "ip prefix-list podnet-own-ipv4 deny 10.64.3.0/24",
        ),
        [("node-3", "prefix filter", "ip prefix-list podnet-own-ipv4 deny 10.64.3.0/24")],
    ),
    "filtered where it arrives": (
        lambda t: t.forget("node-4", "10.64.3.0/24").configure(
            "node-4",
            "ip prefix-list podnet-pods-ipv4",
            "ip prefix-list podnet-pods-ipv4 deny 10.64.3.0/24\nip prefix-list podnet-pods-ipv4",
        ),
        [("node-4", "prefix filter", "ip prefix-list podnet-pods-ipv4 deny 10.64.3.0/24")],
    ),
    "filtered by nobody knows whom": (
        lambda t: t.forget("node-4", "10.64.3.0/24"),
        [("node-4", "prefix filter", "10.64.3.0/24")],
    ),
    "not in the kernel": (
        lambda t: t.forget("node-4", "10.64.3.0/24", paths=False),
        [("node-4", "learned route", "10.64.3.0/24")],
    ),
    "another node's": (
        lambda t: t.configure(
            "node-3", "  network 10.64.3.0/24", "  network 10.64.3.0/24\n  network 10.64.4.0/24"
        ).learn("node-1", "10.64.4.0/24", "192.0.2.13"),
        [("node-3", "announcement", "10.64.4.0/24")],
    ),
    # Both are as good, so that FRR takes both, and half of the flows arrive.
    "another node's as well": (
        lambda t: t.configure(
            "node-3", "  network 10.64.3.0/24", "  network 10.64.3.0/24\n  network 10.64.4.0/24"
        ).learn("node-1", "10.64.4.0/24", "192.0.2.14", "192.0.2.13"),
        [("node-3", "announcement", "10.64.4.0/24")],
    ),
    "another node's as well, of which nobody looks": (
        lambda t: t.learn("node-1", "10.64.4.0/24", "192.0.2.14", "192.0.2.13"),
        [("node-3", "announcement", "10.64.4.0/24")],
    ),
    "from elsewhere": (
        lambda t: t.learn("node-1", "10.64.4.0/24", "192.0.2.99"),
        [("node-1", "announcement", "10.64.4.0/24")],
    ),
    "no daemon": (
        lambda t: t.change("node-4", daemons=frozenset({"zebra", "watchfrr"})).end_session(
            "node-4", "node-1"
        ),
        [("node-4", "daemon", "bgpd")],
    ),
    "a line of somebody's": (
        lambda t: t.configure(
            "node-2",
            "route-map podnet-in-ipv4 permit",
            "ip prefix-list x permit any\nroute-map podnet-in-ipv4 permit",
        ),
        [("node-2", "FRR configuration", "ip prefix-list x permit any")],
    ),
    "nothing to be seen": (
        lambda t: t.end_session("node-3", "node-1", "Connect"),
        [
            ("node-1", "BGP session", "node-1 - node-3 ipv4"),
            ("node-3", "BGP session", "node-3 - node-1 ipv4"),
        ],
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(name: str) -> None:
    spoil, expected = FAULTS[name]
    assert named(spoil(Told())) == expected


def test_a_prefix_that_no_node_has_is_laid_at_the_door_of_who_announces_it() -> None:
    told = Told()
    leak = {"node-1": {FOREIGN: "192.0.2.13"}, "node-2": {FOREIGN: "192.0.2.13"}}
    assert named(told, leak) == [("node-3", "announcement", FOREIGN)]
    stranger = {"node-1": {FOREIGN: "192.0.2.99"}}
    assert named(told, stranger) == [("node-1", "announcement", FOREIGN)]
    line = "  network 10.64.4.0/24"
    told.configure("node-4", line, f"{line}\n  network {FOREIGN}")
    assert named(told, stranger) == [("node-4", "announcement", FOREIGN)]


def test_what_is_known_of_a_node_is_no_cause_at_others() -> None:
    """It is down, or a run would change it: its sessions, its range, and what it has instead."""
    told = lost(Told(), "node-3")
    leak = {"node-1": {FOREIGN: "192.0.2.13"}}
    assert {cause[0] for cause in named(told, leak)} >= {"node-1", "node-3"}
    told.heard = {name: heard for name, heard in told.heard.items() if name != "node-3"}
    assert named(told, leak, but=("node-3",)) == []


def test_bad_peer_as_is_told_by_the_router() -> None:
    told = Told().end_session("node-3", "node-1")
    told.change("node-3", reasons={"192.0.2.11": "OPEN Message Error/Bad Peer AS"})
    assert ("node-3", "AS", "neighbor 192.0.2.11") in named(told)


# --- verification -----------------------------------------------------------------------------


def judged(told: Told, missing: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    heard = {n: Missing("gone") if n in missing else h for n, h in told.heard.items()}
    scene = Scene(told.fabric, Run(NAMES), {}, heard)
    plans = plan_fleet(told.fabric, NAMES)
    results = [r for plan in plans for r in judge_learned(scene, plan)]
    return [(r.id, r.status) for r in results if r.status != "success"]


def test_verification_says_which_prefix_and_which_session() -> None:
    assert judged(Told()) == []
    assert judged(Told().forget("node-4", "10.64.3.0/24")) == [
        ("learned/ipv4/node-4/node-3", "failure")
    ]
    assert judged(Told().end_session("node-3", "node-1")) == [
        ("session/ipv4/node-1/node-3", "failure"),
        ("session/ipv4/node-3/node-1", "failure"),
    ]


def test_what_could_not_be_looked_at_is_an_error() -> None:
    found = judged(Told(), missing=("node-2",))
    assert {status for _id, status in found} == {"error"}
    assert len(found) == 6 + 6


# --- the answer -------------------------------------------------------------------------------

SECRET = "tell-Nobody/of&this|one"
CONF = """router bgp 64512
 neighbor G peer-group
 neighbor G remote-as 64512
 neighbor G password {one}
 neighbor H peer-group
 neighbor H password {two}
 neighbor 192.0.2.11 peer-group G
 !
 address-family ipv4 unicast
  network 10.64.3.0/24
 exit-address-family
exit
ip prefix-list p seq 5 permit 10.64.0.0/16 ge 24 le 24
"""
SUMMARY = {
    "ipv4Unicast": {"as": 64512, "peers": {"192.0.2.11": {"state": "Idle", "remoteAs": 64512}}}
}
ROUTES = """[{"dst": "10.64.1.0/24", "gateway": "192.0.2.11", "protocol": "bgp"},
 {"dst": "10.64.9.1", "protocol": "bgp", "nexthops": [{"gateway": "192.0.2.11", "weight": 1},
  {"via": {"family": "inet6", "host": "fe80::1"}, "weight": 1}]}]"""
TABLE = """{"routes": {"10.64.1.0/24": [{"peerId": "192.0.2.12", "nexthops": [
 {"ip": "192.0.2.11", "used": true}]}],
 "10.64.3.0/24": [{"peerId": "(unspec)", "nexthops": [{"ip": "0.0.0.0"}]}]}}"""


def test_the_text_is_read_and_a_password_stays_on_the_node(tmp_path: Path) -> None:
    """The real text with a vtysh that prints what FRR 8.4 prints."""
    (tmp_path / "conf").write_text(CONF.format(one=SECRET, two="other"), encoding="utf-8")
    (tmp_path / "sum").write_text(json.dumps(SUMMARY), encoding="utf-8")
    (tmp_path / "table").write_text(TABLE, encoding="utf-8")
    vtysh = f"""#!/bin/sh
case $* in *summary*) cat {tmp_path}/sum ;; *running*) cat {tmp_path}/conf ;;
  *ipv4*) cat {tmp_path}/table ;; esac
"""
    ip = f"""#!/bin/sh
case $* in *-4*) echo '{ROUTES}' ;; *) echo '[]' ;; esac
"""
    for name, text in (("vtysh", vtysh), ("ip", ip)):
        (tmp_path / name).write_text(text, encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    text = with_password(speaking_fleet(podnet_bgp_password=SECRET), script(True), SECRET)
    assert SENT not in text
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(
        ["sh", "-s"], input=text, env=environment, capture_output=True, text=True, check=True
    )
    assert SECRET not in done.stdout and " other" not in done.stdout
    heard = read(done.stdout)
    assert heard.running.neighbour("192.0.2.11").password == "@planned@"
    assert heard.running.neighbour("H").password == "@other@"
    assert heard.running.networks == {"10.64.3.0/24"}
    assert ("", "ip prefix-list p permit 10.64.0.0/16 ge 24 le 24") in heard.running.lines
    assert heard.sessions["192.0.2.11"].state == "Idle"
    assert heard.learned == {
        "10.64.1.0/24": ("192.0.2.11",),
        "10.64.9.1/32": ("192.0.2.11", "fe80::1"),
    }
    assert heard.paths == {
        "10.64.1.0/24": (Way("192.0.2.12", "192.0.2.11"),),
        "10.64.3.0/24": (Way("", ""),),
    }


@pytest.mark.parametrize(
    "text", ["", "\n@@bgp daemons\nbgpd\n", "\n@@bgp sessions\n{\n@@bgp end\n"]
)
def test_half_an_answer_is_none(text: str) -> None:
    with pytest.raises(UnreadableError):
        read(text)
