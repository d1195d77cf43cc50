# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces and addresses of a network namespace, asked of the kernel (rtnetlink(7)).

Two messages and no process: probe pods are looked at several times on every node.
"""

from __future__ import annotations

import socket
import struct
from typing import Dict, Iterator, List, NamedTuple, Tuple

from . import namespaces

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
NETLINK_ROUTE, REQUEST, DUMP, ERROR, DONE = 0, 1, 0x300, 2, 3
GETLINK, GETADDR = 18, 22
LINK_ADDRESS, LINK_NAME, LINK_MTU = 1, 3, 4
ADDR_ADDRESS, ADDR_LOCAL, ADDR_FLAGS = 1, 2, 8
FAILED, TENTATIVE = 0x08, 0x40
UNIVERSE = 0


class Address(NamedTuple):
    """An address, as ``length`` bits of network; ``world``: its scope is global. Duplicate
    detection (RFC 4862) has not ended where it is ``tentative``, or has ``failed``."""

    address: str
    length: int
    world: bool
    tentative: bool
    failed: bool


class Link(NamedTuple):
    """An interface."""

    name: str
    mac: str
    mtu: int
    addresses: List[Address]


def seen(path: str) -> List[Link]:
    """What is in the namespace that a path names. Raises OSError."""
    kinds = (socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
    with namespaces.visit(path), socket.socket(*kinds) as handle:
        handle.settimeout(10)
        links = {
            struct.unpack_from("=i", body, 4)[0]: _link(_attributes(body[16:]))
            for body in _dump(handle, GETLINK)
        }
        for body in _dump(handle, GETADDR):
            index = struct.unpack_from("=I", body, 4)[0]
            if index in links and body[0] in (socket.AF_INET, socket.AF_INET6):
                links[index].addresses.append(_address(body))
    return list(links.values())


def _dump(handle: socket.socket, kind: int) -> Iterator[bytes]:
    """Bodies of the kernel's messages."""
    handle.send(struct.pack("=IHHIIB3x", 20, kind, REQUEST | DUMP, 1, 0, socket.AF_UNSPEC))
    while True:
        data, offset = handle.recv(1 << 18), 0
        while offset < len(data):
            length, answer = struct.unpack_from("=IH", data, offset)
            if answer == DONE:
                return
            if answer == ERROR:
                raise OSError(-struct.unpack_from("=i", data, offset + 16)[0], "netlink")
            yield data[offset + 16 : offset + length]
            offset += (length + 3) & ~3


def _attributes(data: bytes) -> Dict[int, bytes]:
    found, offset = {}, 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += max(4, (length + 3) & ~3)
    return found


def _link(of: Dict[int, bytes]) -> Link:
    name = of[LINK_NAME].rstrip(b"\0").decode(errors="replace")
    mac = ":".join(f"{octet:02x}" for octet in of.get(LINK_ADDRESS, b""))
    return Link(name, mac, int(struct.unpack("=I", of[LINK_MTU])[0]), [])


def _address(body: bytes) -> Address:
    head: Tuple[int, int, int, int] = struct.unpack_from("=BBBB", body)
    family, length, flags, scope = head
    of = _attributes(body[8:])
    if ADDR_FLAGS in of:
        flags = int(struct.unpack("=I", of[ADDR_FLAGS])[0])
    # With a peer, the one is ours and the other theirs.
    text = socket.inet_ntop(family, of.get(ADDR_LOCAL, of.get(ADDR_ADDRESS, b"")))
    return Address(text, length, scope == UNIVERSE, bool(flags & TENTATIVE), bool(flags & FAILED))
