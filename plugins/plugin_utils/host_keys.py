# SPDX-License-Identifier: GPL-3.0-or-later
"""Pinned fingerprints against the host keys that a node's SSH server shows. Pure.

A key that nobody has compared is not accepted: the first contact is the one that an attacker waits
for. Fingerprints are those of OpenSSH (`ssh-keygen -l`): SHA-256 of the key, in base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .intent.problems import Problem

PIN = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
VARIABLE = "podnet_host_key_fingerprints"
COMPARE = "compare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` at the node's console"


@dataclass(frozen=True, slots=True)
class HostKey:
    """``kind``: such as ssh-ed25519; ``data``: the public key, base64."""

    kind: str
    data: str

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(base64.b64decode(self.data)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.kind} {self.fingerprint}"


@dataclass(frozen=True, slots=True)
class Target:
    """A node and where its SSH server is. ``pins``: as the inventory has them."""

    node: str
    address: str
    port: int
    pins: tuple[str, ...]

    @property
    def entry(self) -> str:
        """The name by which ssh looks the key up (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
        return self.address if self.port == 22 else f"[{self.address}]:{self.port}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one node.

    Attributes:
        problem: why nothing may be written; None when the keys are the pinned ones.
        new: keys to write. old: keys of the node that are in the file and are not pinned.
    """

    problem: Problem | None = None
    new: tuple[HostKey, ...] = ()
    old: tuple[HostKey, ...] = ()


def bad_pins(target: Target) -> Problem | None:
    wrong = [pin for pin in target.pins if not PIN.fullmatch(pin)]
    if not wrong:
        return None
    return Problem(
        f"nodes.{target.node}.{VARIABLE}",
        "not a list of fingerprints",
        "SHA256: and 43 characters, as `ssh-keygen -l` prints it",
        ", ".join(repr(pin) for pin in wrong),
        "write each fingerprint whole, without the length and the comment",
    )


def judge(
    target: Target, shown: Sequence[HostKey], silent: str, known: Sequence[HostKey]
) -> Verdict:
    """``shown``: what the server showed; ``silent``: why it showed nothing; ``known``: what the
    file has of it."""
    at = f"{target.address} port {target.port}"
    if not shown:
        what = "its SSH server showed no host key"
        do = "start it, or correct ansible_host and ansible_port; a node behind a jump host has to "
        do += "be pinned into known_hosts from there"
        return Verdict(Problem(f"nodes.{target.node}", what, f"an answer at {at}", silent, do))
    found = ", ".join(str(key) for key in shown)
    if not target.pins:
        where, do = (
            f"nodes.{target.node}.{VARIABLE}",
            f"{COMPARE}, then write it into the inventory",
        )
        return Verdict(
            Problem(
                where, "no host key is pinned", "a fingerprint that somebody compared", found, do
            )
        )
    new = tuple(key for key in shown if key.fingerprint in target.pins)
    if not new:
        do = f"do not connect before you know why: {COMPARE}; if the node is new, pin its new key"
        what = f"the SSH server at {at} has another host key"
        return Verdict(Problem(f"nodes.{target.node}", what, ", ".join(target.pins), found, do))
    old = tuple(key for key in known if key.fingerprint not in target.pins)
    kept = [key for key in known if key not in old]
    if old:  # all lines of the node are written anew
        return Verdict(None, tuple(dict.fromkeys([*kept, *new])), old)
    return Verdict(None, tuple(key for key in new if key not in kept))


def read_known(text: str) -> list[HostKey]:
    """Keys in lines of a known_hosts file, such as `ssh-keygen -F` prints; certificate
    authorities and revoked keys (marked with @) are none."""
    keys = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 3 and line[0] not in "#@":
            try:
                base64.b64decode(words[2], validate=True)
            except binascii.Error:
                continue
            keys.append(HostKey(words[1], words[2]))
    return keys


def line_of(target: Target, key: HostKey) -> str:
    return f"{target.entry} {key.kind} {key.data}\n"
