# SPDX-License-Identifier: GPL-3.0-or-later
"""What the nodes reported, as frozen types; or the reason why there is nothing to judge.

Whatever cannot be read here becomes `Missing`: "could not look" is neither a failure nor a
success, and a malformed observation must not stop the judgement of the other nodes.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..intent.model import FAMILIES, Family

# A message of what runs on nodes (`cni.message`), on one line: what, expected, found, do.
MESSAGE = re.compile(r"(.*?) expected: (.*?) found: (.*?) do: (.*)")


@dataclass(frozen=True, slots=True)
class Missing:
    """Nothing was observed; ``reason`` is for a person."""

    reason: str


@dataclass(frozen=True, slots=True)
class Container:
    """One process of a pod: its network namespace (inode) and what it sees in there.

    Attributes:
        interfaces: sorted (name, MAC, addresses) of every interface but the loopback.
    """

    name: str
    netns: int
    interfaces: tuple[tuple[str, str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Pod:
    """One probe pod. ``mtu`` in bytes, as the pod's own interface has it."""

    name: str
    addresses: Mapping[Family, str]
    mtu: int
    mac: str
    containers: tuple[Container, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """What must stay when a container of a pod is replaced, and the PID, which must not."""

    addresses: tuple[str, ...]
    mac: str
    pid: int


@dataclass(frozen=True, slots=True)
class Restart:
    """A container that was killed and started again."""

    container: str
    before: Identity
    after: Identity


@dataclass(frozen=True, slots=True)
class Started:
    """The probe pods of one node. ``addresses``: the node's own, as it says itself."""

    pods: Mapping[str, Pod]
    restart: Restart | None
    errors: tuple[str, ...]
    addresses: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """The errors in one line. What to do about them stands with their cause."""
        found = (MESSAGE.fullmatch(error) for error in self.errors)
        pairs = zip(self.errors, found, strict=True)
        return "; ".join(f"{m[1]}: {m[3]}" if m else error for error, m in pairs)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one probe. ``looked`` is false when it could not be sent at all."""

    ok: bool
    looked: bool
    source_seen: str | None = None
    rtt_us: int | None = None
    attempts: int = 1
    error: str | None = None


Start = Started | Missing
Answers = Mapping[str, Answer]


def read_start(saved: Any) -> Start:
    """A saved answer of stage `start`: {"observation": …} or {"error": text}; None: no answer."""
    if not isinstance(saved, Mapping):
        return Missing("the node gave no answer")
    if "observation" not in saved:
        return Missing(str(saved.get("error") or "the node gave no answer"))
    try:
        return _started(saved["observation"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Missing(f"the observation cannot be read ({type(error).__name__}: {error})")


def read_probes(saved: Any) -> Answers | Missing:
    """A saved answer of stage `probe`: {"probes": [...]} or {"error": text}."""
    if not isinstance(saved, Mapping):
        return Missing("the node gave no answer")
    if "probes" not in saved:
        return Missing(str(saved.get("error") or "the node gave no answer"))
    try:
        return {str(item["id"]): _answer(item) for item in saved["probes"]}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Missing(f"the answers cannot be read ({type(error).__name__}: {error})")


def _started(data: Mapping[str, Any]) -> Started:
    restart = data.get("restart")
    return Started(
        pods={str(pod["name"]): _pod(pod) for pod in data["pods"]},
        restart=_restart(restart) if restart else None,
        errors=tuple(" ".join(str(text).split()) for text in data.get("errors") or ()),
        addresses=tuple(canonical(str(text)) for text in data.get("addresses") or ()),
    )


def _pod(data: Mapping[str, Any]) -> Pod:
    found: Mapping[str, Any] = data["addresses"]
    return Pod(
        name=str(data["name"]),
        addresses={f: canonical(str(found[f])) for f in FAMILIES if found.get(f)},
        mtu=int(data["mtu"]),
        mac=str(data["mac"]).lower(),
        containers=tuple(_container(item) for item in data["containers"]),
    )


def _container(data: Mapping[str, Any]) -> Container:
    interfaces = [
        (
            str(item["name"]),
            str(item["mac"]).lower(),
            tuple(sorted(str(address) for address in item["addresses"])),
        )
        for item in data["interfaces"]
        if item["name"] != "lo"
    ]
    return Container(str(data["name"]), int(data["netns"]), tuple(sorted(interfaces)))


def _restart(data: Mapping[str, Any]) -> Restart:
    return Restart(str(data["container"]), _identity(data["before"]), _identity(data["after"]))


def _identity(data: Mapping[str, Any]) -> Identity:
    found = data["addresses"]
    values = found.values() if isinstance(found, Mapping) else found
    addresses = tuple(sorted(canonical(str(value)) for value in values if value))
    return Identity(addresses, str(data["mac"]).lower(), int(data["pid"]))


def _answer(data: Mapping[str, Any]) -> Answer:
    seen, rtt = data.get("source_seen"), data.get("rtt_us")
    return Answer(
        ok=bool(data["ok"]),
        looked=bool(data["looked"]),
        source_seen=canonical(str(seen)) if seen else None,
        rtt_us=int(rtt) if rtt is not None else None,
        attempts=int(data.get("attempts") or 0),
        error=str(data["error"]) if data.get("error") else None,
    )


def canonical(address: str) -> str:
    """An address in the form of `ipaddress`, without prefix length or zone; IPv4 that arrived
    at an IPv6 socket (``::ffff:10.64.1.5``) as IPv4.

    Raises:
        ValueError: not an address.
    """
    parsed = ipaddress.ip_address(address.partition("/")[0].partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)
