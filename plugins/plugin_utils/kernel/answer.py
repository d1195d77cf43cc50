# SPDX-License-Identifier: GPL-3.0-or-later
"""The text that the read script prints: its sections, and the words in them. Pure."""

from __future__ import annotations

import base64
import ipaddress
import re
import zlib
from collections.abc import Iterator
from functools import lru_cache

MARKER = "@@podnet "


def packed(output: str) -> str:
    """To be kept between the stages of a run: addresses of peers take a tenth of their room so."""
    text = output.encode(errors="surrogatepass")  # a node may say what is no UTF-8
    return base64.b64encode(zlib.compress(text, 1)).decode()


def unpacked(text: str) -> str:
    """The other way round."""
    return zlib.decompress(base64.b64decode(text)).decode(errors="surrogatepass")


def printable(output: str) -> str:
    """Some of it is shown to a person; nothing in it must steer a terminal."""
    if output.replace("\n", "").replace("\t", "").isprintable():
        return output
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in output)


def sections_of(output: str) -> dict[str, str]:
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in output.splitlines():
        if line.startswith(MARKER):
            current = sections.setdefault(line[len(MARKER) :].strip(), [])
        else:
            current.append(line)
    return {name: "\n".join(lines).strip() for name, lines in sections.items()}


def words(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        yield line.partition(" ")[0], line.partition(" ")[2].strip()


def numbers(text: str) -> Iterator[int]:
    """Of generations: one that counts to a billion is not podnet's."""
    found = (word for word in text.split() if word.isascii() and word.isdigit())
    return (int(word) for word in found if len(word) < 10)


def interfaces(text: str) -> Iterator[str]:
    for word in text.split():
        ipaddress.ip_interface(word)
        yield word


def reservations(text: str) -> Iterator[tuple[str, str]]:
    """host-local's files; people keep others beside them."""
    for address, container in words(text):
        try:
            ipaddress.ip_address(address)
        except ValueError:
            continue
        yield address, container


def loose(text: str) -> dict[str, frozenset[str]]:
    """A line of ports that are on no bridge; lines ``path:"name": "interface"`` of CNI results."""
    ports, _end, named = text.partition("\n")
    by_file: dict[str, set[str]] = {}
    for path, name in re.findall(r'^(.+):"name": *"([^"]+)"$', named, re.M):
        by_file.setdefault(path, set()).add(name)
    found: dict[str, frozenset[str]] = {}
    for port in ports.split():
        for names in (names for names in by_file.values() if port in names):
            found[port] = found.get(port, frozenset()) | names - {port}
    return found


def pairs(text: str, separator: str, prefix: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        path, cut, value = line.partition(separator)
        if cut and not line.startswith("#"):
            found[path.removeprefix(prefix)] = value.strip()
    return found


# The same peers are on every node of a fleet.
@lru_cache(maxsize=1 << 16)
def as_listed(text: str) -> str:
    """A network or an address in one notation: nft names a network of one by its address, and has
    another way with some IPv6 addresses. What is neither, somebody else has put there."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return text
    alone = network.prefixlen == network.max_prefixlen
    return str(network.network_address if alone else network)
