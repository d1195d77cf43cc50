# SPDX-License-Identifier: GPL-3.0-or-later
"""What foreign packet filter rules do with a packet, as far as it can be told. Pure.

Three values all the way: yes, no, and "may" for a match or a statement that is not known. A rule
behind a "may" is a suspect and never a certainty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .matches import Packet, fits, shown

OWN = ("inet", "podnet")
ENDS = ("drop", "reject")
CHANGES = ("masquerade", "snat", "dnat", "redirect")
_DEEPEST = 16  # the kernel's own limit of jumps (NFT_JUMP_STACK_SIZE)
_QUIET = ("counter", "log", "comment", "ct helper", "mangle", "notrack")
Rule = Mapping[str, Any]
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A foreign rule or policy that ends a packet or changes it.

    Attributes:
        what: drop, reject, masquerade, snat, dnat, redirect.
        where: family, table and chain.
        handle: of the rule; empty for a policy and for legacy tables.
    """

    what: str
    where: str
    text: str
    handle: str
    sure: bool


@dataclass
class Walk:
    """A packet's way through one base chain. ``sure`` turns false once something may have ended
    it; ``over`` says that something surely did."""

    ruleset: Ruleset
    packet: Packet
    found: list[Verdict]
    sure: bool = True
    over: bool = False

    def chain(self, key: Key, sure: bool, depth: int = 0) -> None:
        """``sure``: whether the packet surely gets to this chain."""
        for rule in self.ruleset.rules.get(key, ()):
            fit, verdict, target = self._rule(rule)
            if fit is False or verdict == "":
                continue
            certain = sure and fit is True
            if verdict in ("jump", "goto"):
                if depth < _DEEPEST:
                    self.chain((*key[:2], target), certain, depth + 1)
                if self.over or (verdict == "goto" and certain):
                    return
            elif verdict == "return":
                if certain:
                    return
                sure = False
            else:
                self._end(key, rule, verdict, certain)
            if self.over:
                return

    def _end(self, key: Key, rule: Rule, verdict: str, certain: bool) -> None:
        if verdict in (*ENDS, *CHANGES):
            where, handle = " ".join(key), str(rule.get("handle", ""))
            sure = certain and self.sure
            self.found.append(Verdict(verdict, where, shown(rule["expr"]), handle, sure))
        self.over = certain
        self.sure = self.sure and (certain or verdict in CHANGES)

    def _rule(self, rule: Rule) -> tuple[bool | None, str, str]:
        """Whether it matches, its verdict ("" when it has none), and the target of a jump."""
        fit: bool | None = True
        for item in rule["expr"]:
            word, value = next(iter(item.items()))
            if word in (*ENDS, *CHANGES, "accept", "return"):
                return fit, word, ""
            if word in ("jump", "goto"):
                return fit, word, value["target"]
            if word == "xt":
                name = str(value.get("name", "")).lower() if isinstance(value, dict) else ""
                if name in (*ENDS, *CHANGES):
                    return fit, name, ""
                fit = None if fit is not False else False
            elif word == "vmap":
                text = str(value)
                return (None if "drop" in text or "jump" in text else False), "drop", ""
            elif word not in _QUIET:
                now = fits(item, self.packet, self.ruleset.sets)
                if now is False:
                    return False, "", ""
                fit = fit if now else None
        return fit, "", ""


class Ruleset:
    """`nft -j list ruleset`, taken apart."""

    def __init__(self, objects: Sequence[Mapping[str, Any]]) -> None:
        self.chains = [item["chain"] for item in objects if "chain" in item]
        self.rules: dict[Key, list[Rule]] = {}
        self.sets: dict[Key, list[Any]] = {}
        for item in objects:
            if "rule" in item:
                rule = item["rule"]
                key = (rule["family"], rule["table"], rule["chain"])
                self.rules.setdefault(key, []).append(rule)
            elif "set" in item:
                one = item["set"]
                self.sets[one["family"], one["table"], one["name"]] = one.get("elem", [])

    def verdicts(self, hook: str, packet: Packet) -> Iterator[Verdict]:
        """What the chains of a hook do, in the order in which they see the packet; podnet's own
        table is left out."""
        family = "ip6" if ":" in packet.target else "ip"
        hooked = [
            c for c in self.chains if c.get("hook") == hook and c["family"] in (family, "inet")
        ]
        for chain in sorted(hooked, key=lambda c: int(c.get("prio", 0))):
            if (chain["family"], chain["table"]) == OWN:
                continue
            key = (chain["family"], chain["table"], chain["name"])
            walk = Walk(self, replace(packet, table=key[:2]), [])
            walk.chain(key, True)
            yield from walk.found
            if not walk.over and chain.get("policy") == "drop":
                yield Verdict("drop", " ".join(key), "policy drop", "", walk.sure)
