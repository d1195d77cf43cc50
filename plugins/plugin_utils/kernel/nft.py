# SPDX-License-Identifier: GPL-3.0-or-later
"""podnet's nftables as `nft -i` prints them: what is compared, and what their sets have."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping

from .answer import as_listed


def split(text: str) -> tuple[str, str]:
    """The tables of family inet and bridge; empty where there is none. A build with GNU readline
    repeats what it was told behind its prompt, also to what is no terminal."""
    text = re.sub("^nft>.*\n?", "", text, flags=re.MULTILINE)
    inet, start, bridged = text.partition("table bridge podnet {")
    return inet.strip(), (start + bridged).strip()


def digest(inet: str, bridged: str) -> str:
    """SHA-256 of the tables as `podnet-node` records them, without what the bridge table learns;
    empty when there is none."""
    learned = re.compile(r"\n\t\telements = \{[^}]*\}")
    texts = (inet, learned.sub("", bridged))
    listing = "\n".join(text for text in texts if text)
    return hashlib.sha256(f"{listing}\n".encode()).hexdigest() if listing else ""


def sets(text: str) -> dict[str, tuple[str, ...]]:
    """Sets as nft lists them; one without elements has none of the second group."""
    pattern = re.compile(r"set (\w+[46]) \{[^{}]*(?:elements = \{([^{}]*)\}[^{}]*)?\}")
    found = pattern.findall(text)
    return {name: tuple(item.replace(",", " ").split()) for name, item in found}


def untranslated(text: str, sets: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Chain → networks and addresses that it lets go as they are; ``sets`` as above."""
    found: dict[str, tuple[str, ...]] = {}
    for chain, rules in re.findall(r"chain (leaving[46]) \{([^{}]*)\}", text):
        items = re.findall(r"ip6? daddr (\S+) return", rules)
        known = [sets.get(item[1:], ()) if item[0] == "@" else (item,) for item in items]
        found[chain] = tuple(as_listed(one) for several in known for one in several)
    return found


def contested(text: str, ports: list[str]) -> dict[str, tuple[str, ...]]:
    """From elements such as `"veth1" . 10.64.1.5`; nft has IPv6 addresses as numbers there. What
    was learned of a port that is gone does not count."""
    users: dict[str, list[str]] = {}
    for port, word in re.findall(r'"([^"]+)" \. (0x[0-9a-f]+|[0-9.]+)(?=[,\s}])', text):
        address = str(ipaddress.IPv6Address(int(word, 16))) if word.startswith("0x") else word
        if port in ports:
            users.setdefault(address, []).append(port)
    return {address: tuple(sorted(of)) for address, of in users.items() if len(of) > 1}
