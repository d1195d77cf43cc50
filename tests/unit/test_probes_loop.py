# SPDX-License-Identifier: GPL-3.0-or-later
"""What a probe makes of answers, errors and silence, without a network."""

from __future__ import annotations

import errno
import hashlib
import json
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.module_utils import probes


def probe(kind: str, address: str = "10.64.1.5", size: int = 1450) -> probes.Probe:
    made = probes.Probe(
        {"id": "x", "from": "a", "kind": kind, "address": address, "port": 1, "size": size}
    )
    made.attempts = 2
    return made


def outcome(made: probes.Probe) -> dict[str, Any]:
    assert made.result is not None
    assert (made.result["id"], made.result["attempts"], made.result["looked"]) == ("x", 2, True)
    return made.result


@pytest.mark.parametrize(("address", "headers"), [("10.64.1.5", 28), ("fd00::5", 48)])
def test_size_is_that_of_the_ip_packet(address: str, headers: int) -> None:
    assert len(probe("mtu_pass", address, 1450).payload) == 1450 - headers
    assert len(probe("mtu_exceed", address, 1451).payload) == 1451 - headers
    assert len(probe("mtu_pieces", address, 1451).payload) == 1451 - headers
    assert len(probe("icmp", address, 1450).payload) == probes.PAYLOAD["icmp"]


@pytest.mark.parametrize(
    ("kind", "ok", "error"),
    [
        ("icmp", True, None),
        ("mtu_pass", True, None),
        ("mtu_pieces", True, None),
        ("mtu_exceed", False, "a packet of 1450 bytes was delivered"),
    ],
)
def test_answered(kind: str, ok: bool, error: str | None) -> None:
    made = probe(kind)
    made.answered(0.0)
    assert (outcome(made)["ok"], outcome(made)["error"]) == (ok, error)


def test_answer_of_an_earlier_attempt_that_had_failed_has_no_error() -> None:
    made = probe("icmp")
    made.error = "No route to host"
    made.answered(0.0, None)
    assert outcome(made)["error"] is None and outcome(made)["ok"]


@pytest.mark.parametrize(
    ("kind", "ok"),
    [("icmp", False), ("mtu_pass", False), ("mtu_exceed", True), ("mtu_pieces", False)],
)
def test_silent(kind: str, ok: bool) -> None:
    made = probe(kind)
    made.silent()
    assert (outcome(made)["ok"], outcome(made)["error"]) == (ok, "no answer")
    made.error = "Connection refused"
    made.silent()
    assert outcome(made)["error"] == "Connection refused"


@pytest.mark.parametrize(
    ("kind", "ok"), [("mtu_pass", False), ("mtu_exceed", True), ("mtu_pieces", False)]
)
def test_too_long_is_not_tried_again(kind: str, ok: bool) -> None:
    made = probe(kind)
    loop = probes.Loop(attempts=5, timeout=1, enter=lambda place: None)
    loop._failed(made, OSError(errno.EMSGSIZE, "too long"))
    assert (outcome(made)["ok"], outcome(made)["error"]) == (ok, "too long")


class Far:
    """A socket whose far side says what it was given."""

    def __init__(self, *parts: bytes) -> None:
        self.parts, self.sent = list(parts), b""

    def getsockopt(self, _level: int, _option: int) -> int:
        return 0

    def send(self, data: bytes) -> int:
        self.sent += data[:100]
        return len(data[:100])

    def recv(self, _most: int) -> bytes:
        return self.parts.pop(0)


def talk(kind: str, *parts: bytes) -> tuple[probes.Talk, Far]:
    made = probes.Talk(probe(kind))
    made.socket.close()
    far = Far(*parts)
    made.socket = far  # type: ignore[assignment]
    return made, far


def reply(**change: Any) -> bytes:
    payload = probe("tcp").payload
    answer = {"source": "10.64.1.7", "sha256": hashlib.sha256(payload).hexdigest(), **change}
    return json.dumps(answer).encode() + b"\n"


def test_talk_sends_all_and_reads_to_the_end_of_the_line() -> None:
    whole = reply()
    made, far = talk("tcp", whole[:10], whole[10:])
    steps = 0
    while made.unsent:
        assert made.step() is None
        steps += 1
    payload = probe("tcp").payload
    assert far.sent == len(payload).to_bytes(4, "big") + payload and steps > 10
    assert made.step() is None
    assert made.step() == "10.64.1.7"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "ended before the answer"),
        (b"HTTP/1.0 400\r\n", "not from a probe server"),
        (b"[]\n", "not from a probe server"),
        (b"{}\n", "not from a probe server"),
        (b"x" * 5000, "not from a probe server"),
        (reply(sha256="0"), "arrived changed"),
    ],
)
def test_answers_that_are_none(answer: bytes, words: str) -> None:
    made, _far = talk("tcp", answer)
    made.unsent = b""
    with pytest.raises(OSError, match=words):
        made.step()


def test_what_cannot_be_probed_is_in_the_results_and_in_order() -> None:
    targets = [
        {"id": "1", "kind": "icmp", "address": "nowhere"},
        {"id": "2", "kind": "tcp", "address": "10.64.1.5", "port": None},
    ]
    found = probes.run_probes(targets, attempts=3, timeout=0.1)
    assert [item["id"] for item in found] == ["1", "2"]
    assert not any(item["looked"] or item["ok"] or item["attempts"] for item in found)
