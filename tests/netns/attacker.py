# SPDX-License-Identifier: GPL-3.0-or-later
"""What an attacker sends, and who hears it. Run inside a network namespace; no library needed.

attacker.py listen PORT SECONDS WORD        prints the source of the datagram that is WORD
attacker.py frame DEV DST-MAC SRC-MAC DST SRC PORT WORD     a datagram in a frame of one's own
attacker.py arp DEV DST-MAC SRC-MAC TO CLAIMED [tagged]     "CLAIMED is at SRC-MAC"
attacker.py advert DEV DST-MAC SRC-MAC TO FROM CLAIMED [tagged]     the same for IPv6
attacker.py router DEV SRC-MAC FROM         "FROM is a router", to all
attacker.py vxlan FROM TO PORT VNI DST-MAC SRC-MAC DST SRC INNER-PORT WORD
"""

from __future__ import annotations

import ipaddress
import select
import socket
import struct
import sys
import time

UDP, ICMPV6 = 17, 58


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(
        struct.unpack(f"!{len(data) // 2 + len(data) % 2}H", data + b"\0" * (len(data) % 2))
    )
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(dst: str, src: str, protocol: int, body: bytes, at: int) -> bytes:
    """An IP packet; the checksum of ``body`` goes to its offset ``at``."""
    to, of = ipaddress.ip_address(dst), ipaddress.ip_address(src)
    pseudo = of.packed + to.packed + struct.pack("!IHBB", len(body), 0, 0, protocol)
    body = body[:at] + struct.pack("!H", checksum(pseudo + body)) + body[at + 2 :]
    if to.version == 6:
        head = struct.pack("!IHBB", 6 << 28, len(body), protocol, 255)
        return head + of.packed + to.packed + body
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 7, 0, 64, protocol, 0)
    head += of.packed + to.packed
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def datagram(dst: str, src: str, port: int, word: str) -> bytes:
    body = struct.pack("!HHHH", 5555, port, 8 + len(word), 0) + word.encode()
    return packet(dst, src, UDP, body, 6)


def ethernet(dst: str, src: str, kind: int, body: bytes, tag: bytes = b"") -> bytes:
    return mac(dst) + mac(src) + tag + struct.pack("!H", kind) + body


def kind_of(address: str) -> int:
    return 0x86DD if ":" in address else 0x0800


def arp(dst_mac: str, src_mac: str, to: str, claimed: str, tag: bytes = b"") -> bytes:
    """A reply that nobody asked for (RFC 826)."""
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + mac(src_mac) + socket.inet_aton(claimed)
    return ethernet(dst_mac, src_mac, 0x0806, body + mac(dst_mac) + socket.inet_aton(to), tag)


def advert(dst_mac: str, src_mac: str, to: str, of: str, claimed: str, tag: bytes = b"") -> bytes:
    """A neighbour advertisement with the flags solicited and override (RFC 4861, section 4.4)."""
    body = struct.pack("!BBHI", 136, 0, 0, 0x60000000) + ipaddress.ip_address(claimed).packed
    body += struct.pack("!BB", 2, 1) + mac(src_mac)
    return ethernet(dst_mac, src_mac, 0x86DD, packet(to, of, ICMPV6, body, 2), tag)


def router(src_mac: str, of: str) -> bytes:
    """A router advertisement for a minute, of no prefix (RFC 4861, section 4.2)."""
    body = struct.pack("!BBHBBHIIBB", 134, 0, 0, 64, 0, 60, 0, 0, 1, 1) + mac(src_mac)
    return ethernet("33:33:00:00:00:01", src_mac, 0x86DD, packet("ff02::1", of, ICMPV6, body, 2))


def send(dev: str, frame: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((dev, 0))
        for _ in range(3):
            out.send(frame)
            time.sleep(0.05)


def encapsulated(source: str, target: str, port: int, vni: int, frame: bytes) -> None:
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as out:
        out.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        out.bind((source, 0))
        for _ in range(3):
            out.sendto(struct.pack("!II", 0x08000000, vni << 8) + frame, (target, port))
            time.sleep(0.05)


def listen(port: int, seconds: float, word: str) -> None:
    """Until it comes, or for so long. Says when it is ready."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as into:
        into.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        into.bind(("::", port))
        print("ready", flush=True)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([into], [], [], left)[0]:
                data, address = into.recvfrom(2048)
                if data.endswith(word.encode()):  # of a tunnel, too
                    print(f"heard {address[0].removeprefix('::ffff:')}", flush=True)
                    return
        print("silence", flush=True)


def main(verb: str, *words: str) -> None:
    tag = struct.pack("!HH", 0x8100, 0) if words[-1:] == ("tagged",) else b""
    if verb == "listen":
        listen(int(words[0]), float(words[1]), words[2])
    elif verb == "frame":
        dev, dst_mac, src_mac, dst, src, port, word = words
        send(dev, ethernet(dst_mac, src_mac, kind_of(dst), datagram(dst, src, int(port), word)))
    elif verb == "arp":
        send(words[0], arp(*words[1:5], tag=tag))
    elif verb == "advert":
        send(words[0], advert(*words[1:6], tag=tag))
    elif verb == "router":
        send(words[0], router(*words[1:3]))
    elif verb == "vxlan":
        source, target, port, vni, dst_mac, src_mac, dst, src, inner, word = words
        frame = ethernet(dst_mac, src_mac, kind_of(dst), datagram(dst, src, int(inner), word))
        encapsulated(source, target, int(port), int(vni), frame)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
