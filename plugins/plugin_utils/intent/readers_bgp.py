# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers of the kinds that BGP alone needs, and the table of all readers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from . import readers
from .model import BgpPeer
from .problems import Problem
from .readers import Problems, address, items, read_integer, wrong_type
from .schema import Key

FINGERPRINT = re.compile(r"fingerprint:[0-9a-f]{8}")
# TCP MD5 takes 80 bytes (linux/tcp.h, TCP_MD5SIG_MAXKEYLEN); a space would end FRR's word.
SECRET = re.compile(r"[!-~]{1,80}")


@lru_cache(maxsize=4)  # it is slow on purpose, and each node of a fleet asks
def fingerprint(secret: str) -> str:
    """What stands for a secret wherever it is written. Deterministic, so that a change of it is
    seen; 32 bits of a slow hash, so that it confirms no guess: many secrets share one."""
    digest = hashlib.scrypt(secret.encode(), salt=b"podnet_bgp_password", n=4096, r=8, p=1)
    return f"fingerprint:{digest[:4].hex()}"


def read_secret(value: Any, where: str, key: Key, problems: Problems) -> str | None:
    """The fingerprint of a secret; one that is a fingerprint already stays. Never shown."""
    if value is None:
        return None
    text = str(value) if isinstance(value, str) else ""
    if FINGERPRINT.fullmatch(text):
        return text
    if SECRET.fullmatch(text):
        return fingerprint(text)
    expected = "1 to 80 printable ASCII characters without a space"
    remedy = "choose another password"
    problems.append(Problem(where, "not a password", expected, "something else", remedy))
    return None


def read_boolean(value: Any, where: str, key: Key, problems: Problems) -> bool:
    # `-e podnet_bgp_reflector=true` arrives as a string.
    words = {"true": True, "false": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    if isinstance(value, bool):
        return bool(value)
    wrong_type(value, where, "true or false", problems)
    return False


def read_peers(value: Any, where: str, key: Key, problems: Problems) -> tuple[BgpPeer, ...]:
    """Routers by address and AS, sorted by address, each once."""
    expected = "a mapping such as {address: 192.0.2.1, asn: 65001}"
    asn_key = Key("asn", "integer", low=1, high=4294967294)
    found: dict[str, BgpPeer] = {}
    for index, item in enumerate(items(value, where, "a list of routers", problems)):
        place = f"{where}[{index}]"
        if not isinstance(item, Mapping) or set(map(str, item)) != {"address", "asn"}:
            wrong_type(item, place, expected, problems)
            continue
        text = address(item["address"], f"{place}.address", problems)
        asn = read_integer(item["asn"], f"{place}.asn", asn_key, problems)
        if text is not None and asn is not None:
            found[text] = BgpPeer(text, asn)
    return tuple(found[text] for text in sorted(found))


READERS: Mapping[str, Callable[[Any, str, Key, Problems], Any]] = {
    **readers.READERS,
    "secret": read_secret,
    "boolean": read_boolean,
    "bgp_peers": read_peers,
}
