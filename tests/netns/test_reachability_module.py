# SPDX-License-Identifier: GPL-3.0-or-later
"""The module `reachability`: what it observes on a healthy node, and on broken ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils import node_python
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import node_modules
from podnode import POD_MTU, PodNode, conflist

A = {"ipv4": "10.64.1.2", "ipv6": "fd00:64:1::2"}
B = {"ipv4": "10.64.1.3", "ipv6": "fd00:64:1::3"}
GATEWAY = {"ipv4": "10.64.1.1", "ipv6": "fd00:64:1::1"}
KINDS = ("icmp", "tcp", "udp", "mtu_pass", "mtu_exceed", "mtu_pieces")
FAMILIES = ("ipv4", "ipv6")


@pytest.fixture
def node() -> Iterator[PodNode]:
    with PodNode() as made:
        yield made


@pytest.fixture
def started(node: PodNode) -> PodNode:
    answer = node.module("reachability", state="started", node="n1")
    assert answer["observation"]["errors"] == []
    return node


def target(place: str, kind: str, address: str, size: int = POD_MTU, **more: Any) -> dict[str, Any]:
    size += kind in ("mtu_exceed", "mtu_pieces")
    base = {"id": f"{place} {kind} {address}", "from": place, "kind": kind, "address": address}
    return {**base, "port": 7717, "size": size, **more}


def probe(node: PodNode, *targets: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    more = {"timeout_ms": 300, **more}
    answer = node.module("reachability", state="probed", node="n1", targets=list(targets), **more)
    assert not answer["changed"]
    found: list[dict[str, Any]] = answer["probes"]
    assert [item["id"] for item in found] == [item["id"] for item in targets]
    keys = {"id", "ok", "source_seen", "rtt_us", "attempts", "error", "looked"}
    assert all(set(item) == keys for item in found)
    return found


def test_started_tells_what_is_seen_from_inside(node: PodNode) -> None:
    answer = node.module("reachability", state="started", node="n1")
    seen = answer["observation"]
    keys = {"node", "pods", "restart", "errors", "counters", "addresses"}
    assert answer["changed"] and set(seen) == keys
    assert seen["counters"]["udp_checksums"] >= 0
    assert (seen["node"], seen["errors"]) == ("n1", [])
    assert [pod["name"] for pod in seen["pods"]] == ["podnet-verify-a", "podnet-verify-b"]
    for pod, addresses in zip(seen["pods"], (A, B), strict=True):
        assert set(pod) == {"name", "addresses", "mtu", "mac", "containers"}
        assert pod["addresses"] == addresses and pod["mtu"] == POD_MTU
        assert [c["name"] for c in pod["containers"]] == ["infra", "server", "sleeper"]
        assert len({c["netns"] for c in pod["containers"]}) == 1
        for container in pod["containers"]:
            assert set(container) == {"name", "pid", "netns", "interfaces"}
            (interface,) = container["interfaces"]
            assert interface["mac"] == pod["mac"] and interface["mtu"] == POD_MTU
            expected = [f"{addresses['ipv4']}/24", f"{addresses['ipv6']}/64"]
            assert interface["addresses"] == expected
    restart = seen["restart"]
    assert restart["container"] == "sleeper"
    before, after = restart["before"], restart["after"]
    assert before["pid"] != after["pid"]
    assert (before["mac"], before["addresses"]) == (after["mac"], after["addresses"])
    assert after["addresses"] == A


def test_interfaces_are_not_taken_from_the_cni_result(node: PodNode) -> None:
    """A plugin that lies about what it has made is found out."""
    data = conflist()
    data["plugins"].append({"type": "tuning", "mac": "02:00:00:00:00:07", "mtu": 1300})
    node.write(node.path, data)
    pods = node.module("reachability", state="started", node="n1")["observation"]["pods"]
    assert {(pod["mac"], pod["mtu"]) for pod in pods} == {("02:00:00:00:00:07", 1300)}


def test_healthy_node(started: PodNode) -> None:
    targets = []
    for family in FAMILIES:
        for place, to in (("a", B), ("b", A), ("node", A), ("a", A)):
            targets += [
                target(place, kind, to[family], id=f"{len(targets)}+{kind}") for kind in KINDS
            ]
        targets += [target(place, "icmp", GATEWAY[family]) for place in ("a", "b")]
    places = [t["from"] for t in targets]
    for item, place, aim in zip(probe(started, *targets), places, targets, strict=True):
        if place == "a" and aim["address"] in A.values():
            continue  # over the loopback, whose MTU is larger: below
        assert item["ok"] and item["looked"] and item["attempts"] == 1, item
        family = "ipv6" if ":" in aim["address"] else "ipv4"
        if aim["kind"] in ("tcp", "udp"):
            seen = {"a": A, "b": B, "node": GATEWAY}[place][family]
            assert item["source_seen"] == seen
        if aim["kind"] == "mtu_exceed":
            assert item["error"] == "refused by the sending interface" and item["rtt_us"] is None
        else:
            assert item["error"] is None and item["rtt_us"] > 0


def test_oversized_packet_that_is_delivered_is_noticed(started: PodNode) -> None:
    (item,) = probe(started, target("a", "mtu_exceed", A["ipv4"]))
    assert item["looked"] and not item["ok"]
    assert item["error"] == f"a packet of {POD_MTU + 1} bytes was delivered"


@pytest.mark.parametrize("family", FAMILIES)
def test_smaller_mtu_on_the_way_is_named(started: PodNode, family: str) -> None:
    """A router between the pod and a far host has an MTU of 1300."""
    started.sh(
        "ip netns add far; ip link add far type veth peer name eth0 netns far;"
        "ip addr add 192.0.2.1/24 dev far; ip addr add 2001:db8::1/64 dev far nodad;"
        "ip link set far mtu 1300 up; ip -n far link set eth0 mtu 1300 up;"
        "ip -n far addr add 192.0.2.2/24 dev eth0;"
        "ip -n far addr add 2001:db8::2/64 dev eth0 nodad;"
        "ip -n far route add default via 192.0.2.1; ip -n far route add default via 2001:db8::1;"
        "while ip -6 addr show dev far tentative | grep -q .; do sleep 0.05; done"
    )
    far = {"ipv4": "192.0.2.2", "ipv6": "2001:db8::2"}[family]
    both = [target("a", kind, far) for kind in ("mtu_pass", "mtu_exceed")]
    fits = target("a", "mtu_pass", far, size=1300, id="fits")
    more = target("a", "mtu_exceed", far, size=1300, id="router says no")
    passes, _exceeds, fits, exceeds = probe(started, *both, fits, more)
    says = f"Message too long (MTU 1300), says {GATEWAY[family]}"
    assert (passes["ok"], passes["error"], passes["attempts"]) == (False, says, 1)
    assert (exceeds["ok"], exceeds["error"]) == (True, says)
    assert fits["ok"]


def test_nobody_there(started: PodNode) -> None:
    targets = [target("a", kind, "10.64.1.99") for kind in KINDS if kind != "mtu_exceed"]
    began = time.monotonic()
    for item in probe(started, *targets):
        assert not item["ok"] and item["looked"] and item["attempts"] == 3 and item["error"]
    assert time.monotonic() - began < 5


def test_dead_server_is_refused_and_ping_still_works(started: PodNode) -> None:
    started.sh("pkill -9 -x podnet-probe")
    tcp, udp, icmp = probe(started, *[target("a", k, B["ipv4"]) for k in ("tcp", "udp", "icmp")])
    for item in (tcp, udp):
        assert not item["ok"] and item["looked"] and item["error"] == "Connection refused"
    assert icmp["ok"]


def test_first_packet_lost_is_a_recorded_retry(started: PodNode) -> None:
    started.sh(
        "nsenter --net=/run/podnet/netns/podnet-verify-a nft 'add table inet t;"
        "add chain inet t o { type filter hook postrouting priority 0; };"
        "add rule inet t o icmp type echo-request numgen inc mod 1000 == 0 drop;"
        "add rule inet t o udp dport 7717 numgen inc mod 1000 == 0 drop'"
    )
    for item in probe(started, *[target("a", kind, B["ipv4"]) for kind in ("icmp", "udp")]):
        assert item["ok"] and item["attempts"] == 2, item


def test_changed_source_is_seen(started: PodNode) -> None:
    started.sh("iptables -t nat -A POSTROUTING -j MASQUERADE")
    started.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1")
    tcp, udp = probe(started, *[target("a", kind, B["ipv4"]) for kind in ("tcp", "udp")])
    assert tcp["source_seen"] == udp["source_seen"] == GATEWAY["ipv4"]


def test_local_firewall_is_a_failure_and_not_a_missing_look(started: PodNode) -> None:
    started.sh(
        "nsenter --net=/run/podnet/netns/podnet-verify-a nft 'add table inet t;"
        "add chain inet t o { type filter hook output priority 0; policy drop; }'"
    )
    for item in probe(started, *[target("a", k, B["ipv4"]) for k in ("icmp", "udp", "tcp")]):
        assert not item["ok"] and item["looked"], item


def test_what_cannot_be_looked_at_is_not_a_failure(started: PodNode) -> None:
    started.module("pod", name="podnet-verify-b", state="absent")
    gone, fine, name, port = probe(
        started,
        target("b", "icmp", A["ipv4"]),
        target("a", "icmp", GATEWAY["ipv4"]),
        target("a", "icmp", "example.net"),
        target("a", "tcp", A["ipv4"], port=None),
    )
    assert fine["ok"]
    for item in (gone, name, port):
        assert not item["looked"] and not item["ok"] and item["attempts"] == 0 and item["error"]
    assert "cannot be entered" in gone["error"] and "not an address" in name["error"]


def test_many_targets_take_seconds(started: PodNode) -> None:
    kinds, families = ("icmp", "tcp", "udp"), FAMILIES
    targets = [
        target("a", kind, B[family], id=f"{kind} {family} {number}")
        for number in range(500)
        for kind in kinds
        for family in families
    ]
    began = time.monotonic()
    found = probe(started, *targets, timeout_ms=1000)
    assert all(item["ok"] for item in found), [i for i in found if not i["ok"]][:3]
    assert time.monotonic() - began < 10
    nobody = [
        target("a", kind, f"10.64.1.{number % 200 + 20}", id=f"{kind} {number}")
        for number in range(1000)
        for kind in kinds
    ]
    began = time.monotonic()
    found = probe(started, *nobody, timeout_ms=500)
    assert not any(item["ok"] for item in found) and all(item["looked"] for item in found)
    assert time.monotonic() - began < 20


def test_errors_are_observations(node: PodNode) -> None:
    answer = node.module("reachability", state="started", node="n1", conflist="/run/none")
    assert answer["observation"]["pods"] == []
    assert len(answer["observation"]["errors"]) == 2
    assert "/run/none: cannot be read" in answer["observation"]["errors"][0]
    data = conflist()
    data["plugins"][0]["ipam"]["ranges"] = [[{"subnet": "10.64.1.0/30"}]]
    data["plugins"][0]["ipam"]["routes"] = []
    node.write(node.path, data)
    seen = node.module("reachability", state="started", node="n1")["observation"]
    assert [pod["name"] for pod in seen["pods"]] == ["podnet-verify-a"]
    assert (
        len(seen["errors"]) == 1 and "podnet-verify-b: CNI plugin bridge, ADD" in seen["errors"][0]
    )
    assert "no IP addresses available" in seen["errors"][0]


def test_server_that_does_not_come_up_is_an_error_and_the_pod_is_still_seen(node: PodNode) -> None:
    seen = node.module("reachability", state="started", node="n1", port=70000)["observation"]
    assert len(seen["errors"]) == 2
    for name, error in zip(("a", "b"), seen["errors"], strict=True):
        assert error.startswith(f"podnet-verify-{name}: container server: cannot be started")
        assert "port must be 0-65535" in error
    assert [pod["addresses"] for pod in seen["pods"]] == [A, B]


def test_absent_and_leftovers(node: PodNode) -> None:
    assert not node.module("reachability", state="absent", node="n1")["changed"]
    node.module("reachability", state="started", node="n1")
    again = node.module("reachability", state="started", node="n1", restart_check=False)
    assert again["observation"]["errors"] == [] and again["observation"]["restart"] is None
    assert node.sh("ls /var/lib/cni/networks/podnet | grep -c '^[0-9f]'").strip() == "4"
    assert node.module("reachability", state="absent", node="n1")["changed"]
    assert not node.module("reachability", state="absent", node="n1")["changed"]
    assert node.left() == "" and node.run("ls /run/podnet/verify").returncode


def test_forgotten_server_ends(node: PodNode) -> None:
    node.module("reachability", state="started", node="n1", ttl=1)
    time.sleep(2.5)
    assert node.run("pgrep -x podnet-probe -r S,R,D").returncode


SENT = {"node": "n1", "conf_dir": "/etc/cni/net.d", "bin_dirs": ["/usr/lib/cni"], "port": 7717}


def send(node: PodNode, **params: Any) -> dict[str, Any]:
    """As the action `verify` sends the program; the helper stays."""
    given = {**SENT, "stay": True, **params}
    done = node.run(node_python.script(node_modules(), "probe_pods.observed", given))
    return node_python.answer(done.returncode, done.stdout, done.stderr)


def ask_helper(node: PodNode, **params: Any) -> dict[str, Any] | None:
    """As the action `verify` asks afterwards; None when nobody waits."""
    done = node.run(node_python.for_helper({**SENT, **params}))
    answer = node_python.answer(done.returncode, done.stdout, done.stderr)
    return answer if answer.get("state") == params["state"] else None


def test_a_helper_waits_for_probes_and_ends_with_the_pods(node: PodNode) -> None:
    assert ask_helper(node, state="absent") is None
    seen = send(node, state="started")["observation"]
    assert seen["errors"] == [] and [pod["addresses"] for pod in seen["pods"]] == [A, B]
    helper = int(node.sh("cat /run/podnet/verify/helper").split()[0])
    times = {"attempts": 3, "timeout_ms": 300}
    home = node.sh(f"ls /proc/{helper}/fd | wc -l; readlink /proc/{helper}/ns/net")
    # Longer than a pipe holds, there and back.
    many = [target("a", "icmp", B["ipv4"], id=f"{number}".zfill(200)) for number in range(900)]
    for targets in (many, [target("a", "tcp", B["ipv6"])]):
        answer = ask_helper(node, state="probed", targets=targets, **times)
        assert answer and all(item["ok"] for item in answer["probes"]), answer
        assert len(answer["probes"]) == len(targets)
    silent = [target(place, "tcp", "10.64.1.99") for place in ("node", "b", "a")]
    answer = ask_helper(node, state="probed", targets=silent, **times)
    assert answer and not any(item["ok"] for item in answer["probes"])
    # Nothing of a probing is left open, and it is home again.
    assert node.sh(f"ls /proc/{helper}/fd | wc -l; readlink /proc/{helper}/ns/net") == home
    wrong = ask_helper(node, state="probed", targets=[{}], **times)
    assert wrong and wrong["failed"] and "KeyError" in wrong["msg"]
    gone = ask_helper(node, state="absent")
    assert gone and gone["changed"] and not gone.get("failed"), gone
    assert node.left() == "" and node.run("ls /run/podnet/verify").returncode
    end = time.monotonic() + 5
    while node.run(f"[ -e /proc/{helper}/exe ]").returncode == 0:
        assert time.monotonic() < end, "it lives on"
    assert ask_helper(node, state="absent") is None


def test_a_helper_survives_who_asked_and_is_survived(node: PodNode) -> None:
    send(node, state="started")
    text = node_python.for_helper({**SENT, "state": "elsewhere"})
    node.sh(text.partition("&& exec timeout")[0])  # asks, and does not wait for the answer
    question = {"state": "probed", "targets": [], "attempts": 1, "timeout_ms": 300}
    answers = [ask_helper(node, **question) for _time in range(3)]
    assert answers[-1] and answers[-1]["probes"] == [], answers
    node.sh("read -r pid started </run/podnet/verify/helper; kill -9 $pid; sleep 0.1")
    assert ask_helper(node, state="absent") is None
    again = send(node, state="started", ttl=1)
    assert again["observation"]["errors"] == []
    time.sleep(2.5)
    assert ask_helper(node, state="absent") is None, "a forgotten one ends by itself"
    assert send(node, state="absent")["changed"] and node.left() == ""


CLIENTS = """
import hashlib, json, socket, struct
made, payload = [], bytes(range(256)) * 256
for number in range(400):
    to = ("10.64.1.2", "fd00:64:1::2")[number % 2]
    client = socket.create_connection((to, 7717), timeout=10)
    client.sendall(struct.pack("!I", len(payload)) + payload[:1000])
    made.append(client)
for client in made:
    client.sendall(payload[1000:])
for client in made:
    answer = json.loads(client.makefile().readline())
    assert answer["length"] == 65536 and answer["sha256"] == hashlib.sha256(payload).hexdigest()
    assert answer["source"] in ("10.64.1.1", "fd00:64:1::1")
    assert answer["port"] == client.getsockname()[1]
    assert client.recv(1) == b""
greedy = socket.create_connection(("10.64.1.2", 7717), timeout=10)
greedy.sendall(struct.pack("!I", 65537))
assert greedy.recv(1) == b""
print("fine")
"""


def test_server_answers_hundreds_of_clients_at_once(started: PodNode) -> None:
    started.write("/run/clients.py", CLIENTS)
    assert started.sh("/usr/bin/env python3 /run/clients.py").strip() == "fine"
