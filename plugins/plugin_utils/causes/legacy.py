# SPDX-License-Identifier: GPL-3.0-or-later
"""What `iptables-save` prints of legacy tables, in the form of `nft -j list ruleset`. Pure.

One evaluator then reads both. An option that is not known here becomes a match that is not known.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

_HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_PRIORITY = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
_META = {"-i": "iifname", "-o": "oifname", "-p": "l4proto"}
_ADDRESS = {"-s": "saddr", "-d": "daddr"}
_PORT = {"--dport": "dport", "--sport": "sport"}
_TARGETS = {"DROP", "ACCEPT", "REJECT", "RETURN", "MASQUERADE", "SNAT", "DNAT", "REDIRECT"}
_NOTHING = {"LOG", "NFLOG", "MARK", "CONNMARK", "TCPMSS", "CHECKSUM"}


def objects_of(text: str, family: str) -> Iterator[dict[str, Any]]:
    """Chains and rules; ``family``: ip or ip6. The table is named "legacy <table>"."""
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            yield {"chain": _chain(family, table, name, policy)}
        elif line.startswith("-A "):
            words = shlex.split(line)
            place = {"family": family, "table": f"legacy {table}", "chain": words[1]}
            yield {"rule": {**place, "expr": list(_expressions(words[2:], family))}}


def _chain(family: str, table: str, name: str, policy: str) -> dict[str, Any]:
    chain: dict[str, Any] = {"family": family, "table": f"legacy {table}", "name": name}
    if name in _HOOKS:
        priority = _PRIORITY.get(table, 0)
        if table == "nat" and name in ("POSTROUTING", "INPUT"):
            priority = 100
        chain |= {"hook": name.lower(), "prio": priority, "policy": policy.lower()}
    return chain


def _expressions(words: list[str], family: str) -> Iterator[dict[str, Any]]:
    """Matches, then the target, as nft would list them."""
    negated, protocol, index = False, "", 0
    while index < len(words):
        word = words[index]
        value = words[index + 1] if index + 1 < len(words) else ""
        op = "!=" if negated else "=="
        negated, index = word == "!", index + (1 if word == "!" else 2)
        if word == "!":
            continue
        if word in _META:
            protocol = value if word == "-p" else protocol
            left: dict[str, Any] = {"meta": {"key": _META[word]}}
            yield _match(op, left, value.replace("+", "*") if word != "-p" else _named(value))
        elif word in _ADDRESS:
            left = {"payload": {"protocol": family, "field": _ADDRESS[word]}}
            yield _match(op, left, _prefix(value))
        elif word in _PORT and value.isdigit():
            left = {"payload": {"protocol": protocol or "th", "field": _PORT[word]}}
            yield _match(op, left, int(value))
        elif word in ("--ctstate", "--state"):
            states = [state.lower() for state in value.split(",")]
            yield _match("in" if op == "==" else op, {"ct": {"key": "state"}}, states)
        elif word in ("-j", "-g"):
            yield _target(value, "jump" if word == "-j" else "goto")
            return
        elif word != "-m":
            # An option may have no value: nothing after it is trusted before the target.
            yield {"unknown": word}
            index = next(
                (i for i in range(index - 1, len(words)) if words[i] in ("-j", "-g")), index
            )


def _target(name: str, verb: str) -> dict[str, Any]:
    if name in _TARGETS:
        return {name.lower(): None}
    return {"log": None} if name in _NOTHING else {verb: {"target": name}}


def _match(op: str, left: dict[str, Any], right: Any) -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def _named(protocol: str) -> str:
    return {"icmpv6": "ipv6-icmp"}.get(protocol, protocol)


def _prefix(value: str) -> Any:
    address, slash, length = value.partition("/")
    if slash and length.isdigit():
        return {"prefix": {"addr": address, "len": int(length)}}
    return address
