# SPDX-License-Identifier: GPL-3.0-or-later
"""A pure model of a node: it runs the lines of a change set, and tells what it then is.

Hand-written after ip(8) and bridge(8) for the forms of line that podnet uses; any other form
is an error, so that a new form has to be added here knowingly.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.podnet.fabric.plugins.plugin_utils.changes import Change, Wanted
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import (
    Address,
    Command,
    FdbEntry,
    Link,
    Neighbour,
    Route,
    Sysctl,
    Vxlan,
    is_own_metric,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.state import State

DEVICE_DEFAULTS = {
    "net/ipv4/conf/{}/forwarding": "0",
    "net/ipv4/conf/{}/rp_filter": "0",
    "net/ipv6/conf/{}/disable_ipv6": "0",
    "net/ipv6/conf/{}/forwarding": "0",
    "net/ipv6/conf/{}/accept_ra": "1",
}


def pairs(words: list[str], flags: tuple[str, ...] = ()) -> dict[str, str]:
    """``key value`` words as a mapping; ``flags`` stand alone."""
    result, rest = {}, list(words)
    while rest:
        word = rest.pop(0)
        result[word] = "yes" if word in flags else rest.pop(0)
    return result


def is_own(key: tuple[str, str, str]) -> bool:
    """Whether a route of this destination, protocol and metric is podnet's."""
    dst, protocol, metric = key
    return protocol == "112" and is_own_metric(dst, int(metric))


@dataclass
class Model:
    """Tables of a node. Foreign things stand beside podnet's own, as in a kernel."""

    links: dict[str, dict[str, Any]] = field(default_factory=dict)
    addresses: set[tuple[str, str]] = field(default_factory=set)
    neighbours: dict[tuple[str, str], str] = field(default_factory=dict)
    fdb: dict[tuple[str, str], str] = field(default_factory=dict)
    routes: dict[tuple[str, str, str], Route] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    symlinks: dict[str, str] = field(default_factory=dict)
    nft: str = ""
    backups: dict[str, Any] = field(default_factory=dict)

    def tables(self) -> dict[str, Any]:
        return {k: copy.deepcopy(v) for k, v in vars(self).items() if k != "backups"}

    def run(self, command: Command, wanted: Wanted) -> None:
        words = command.args.split()
        if command.tool == "-":
            return
        if command.tool in ("ip", "bridge"):
            verb = f"{words[0]}_{words[1]}" if words[1] != "property" else f"altname_{words[2]}"
            getattr(self, verb)(words[3:] if words[1] == "property" else words[2:])
        elif command.tool == "sysctl":
            path, _equals, value = command.args.partition("=")
            assert path in self.sysctls, f"no {path}"
            self.sysctls[path] = value
        else:
            getattr(self, command.tool)(words, wanted)

    # --- ip link -----------------------------------------------------------

    def link_add(self, words: list[str]) -> None:
        given = pairs(words[: words.index("type") + 2])
        name = given["name"]
        assert name not in self.links and len(name) <= 15
        more = pairs(words[words.index("type") + 2 :], ("nolearning",))
        vxlan = None
        if given["type"] == "vxlan":
            vxlan = Vxlan(int(more["id"]), int(more["dstport"]), more["local"])
        self.links[name] = {
            "mac": given["address"],
            "mtu": int(given.get("mtu", 1500)),
            "vxlan": vxlan,
            "up": False,
            "altname": "",
            "addrgenmode": "eui64",
        }
        for path, value in DEVICE_DEFAULTS.items():
            self.sysctls[path.format(name)] = value

    def altname_add(self, words: list[str]) -> None:
        given = pairs(words)
        self.links[given["dev"]]["altname"] = given["altname"]

    def altname_del(self, words: list[str]) -> None:
        self.links[pairs(words)["dev"]]["altname"] = ""

    def link_set(self, words: list[str]) -> None:
        name, key = words[1], words[2]
        link = self.links[name]
        if key in ("up", "down"):
            link["up"] = key == "up"
            if key == "down":
                self.routes = {k: r for k, r in self.routes.items() if r.dev != name}
        elif key == "type":
            given = pairs(words[3:] if words[3] != "vxlan" else words[4:])
            link["vxlan"] = Vxlan(int(given["id"]), link["vxlan"].port, given["local"])
        else:
            for key, value in pairs(words[2:]).items():
                link[{"address": "mac"}.get(key, key)] = int(value) if key == "mtu" else value

    def link_del(self, words: list[str]) -> None:
        name = words[1]
        del self.links[name]
        for _dev, cidr in sorted(a for a in self.addresses if a[0] == name):
            self.address_del([cidr, "dev", name])
        self.neighbours = {k: v for k, v in self.neighbours.items() if k[0] != name}
        self.fdb = {k: v for k, v in self.fdb.items() if k[0] != name}
        self.routes = {k: r for k, r in self.routes.items() if r.dev != name}
        for path in DEVICE_DEFAULTS:
            del self.sysctls[path.format(name)]

    # --- what hangs on links -------------------------------------------------

    def address_replace(self, words: list[str]) -> None:
        assert words[2] in self.links
        self.addresses.add((words[2], words[0]))

    def address_del(self, words: list[str]) -> None:
        dev, cidr = words[2], words[0]
        self.addresses.remove((dev, cidr))
        if ":" not in cidr:
            self._ipv4_without(dev, cidr.partition("/")[0])

    def _ipv4_without(self, dev: str, address: str) -> None:
        """What the kernel takes away with an IPv4 address: routes with this source where no device
        has it any more, and where it was the device's last one, all that leads over the device
        (net/ipv4/fib_frontend.c: fib_del_ifaddr, fib_inetaddr_event)."""
        if not any(cidr.partition("/")[0] == address for _dev, cidr in self.addresses):
            self.routes = {k: r for k, r in self.routes.items() if r.src != address}
        if not any(name == dev and ":" not in cidr for name, cidr in self.addresses):
            self.routes = {k: r for k, r in self.routes.items() if r.dev != dev or ":" in r.dst}
            self.neighbours = {
                key: mac for key, mac in self.neighbours.items() if key[0] != dev or ":" in key[1]
            }

    def neighbour_replace(self, words: list[str]) -> None:
        given = pairs(words[1:])
        assert given["dev"] in self.links and given["nud"] == "permanent"
        self.neighbours[given["dev"], words[0]] = given["lladdr"]

    def neighbour_del(self, words: list[str]) -> None:
        del self.neighbours[words[2], words[0]]

    def fdb_replace(self, words: list[str]) -> None:
        given = pairs(words[1:], ("self", "permanent"))
        assert self.links[given["dev"]]["vxlan"]
        self.fdb[given["dev"], words[0]] = given["dst"]

    def fdb_del(self, words: list[str]) -> None:
        given = pairs(words[1:], ("self",))
        assert self.fdb.pop((given["dev"], words[0])) == given["dst"]

    def route_replace(self, words: list[str]) -> None:
        given = pairs(words[1:], ("onlink",))
        dev = given.get("dev")
        assert dev is None or dev in self.links
        values = (given.get("via", ""), given.get("src", ""), dev, "onlink" in given)
        route = Route(words[0], *values, int(given["metric"]), int(given.get("mtu", 0)))
        self.routes[words[0], given["proto"], given["metric"]] = route

    def route_del(self, words: list[str]) -> None:
        given = pairs(words[1:])
        del self.routes[words[0], given["proto"], given["metric"]]

    # --- files and tables ----------------------------------------------------

    def install(self, words: list[str], wanted: Wanted) -> None:
        path = words[2]
        self.backups[path] = self.files.get(path)
        self.files[path] = wanted.files[path][1]

    def drop(self, words: list[str], _wanted: Wanted) -> None:
        self.backups[words[0]] = self.files.pop(words[0])

    def uninstall(self, words: list[str], _wanted: Wanted) -> None:
        before = self.backups[words[1]]
        if before is None:
            del self.files[words[1]]
        else:
            self.files[words[1]] = before

    def symlink(self, words: list[str], _wanted: Wanted) -> None:
        self.symlinks[words[1]] = words[0]

    def unlink(self, words: list[str], _wanted: Wanted) -> None:
        del self.symlinks[words[0]]

    def nft_load(self, wanted: Wanted) -> None:
        self.backups["nft"], self.nft = self.nft, wanted.nft_sha256

    def unnft(self, _words: list[str], _wanted: Wanted) -> None:
        self.nft = self.backups["nft"]

    # --- in and out ------------------------------------------------------------

    def carry_out(self, changes: tuple[Change, ...], wanted: Wanted) -> None:
        for change in changes:
            if change.do.tool == "nft":
                self.nft_load(wanted)
            else:
                self.run(change.do, wanted)

    def take_back(self, changes: tuple[Change, ...], wanted: Wanted) -> None:
        for change in reversed(changes):
            if change.undo:
                self.run(change.undo, wanted)

    def state(self, recorded: tuple[str, ...], generation: dict[str, str]) -> State:
        """What the read script would tell of this node."""
        own = {n for n, link in self.links.items() if link["altname"] == f"podnet-{n}"}
        links = tuple(
            Link(n, i["mac"], i["mtu"], i["vxlan"], i["up"])
            for n, i in self.links.items()
            if n in own
        )
        vxlans = {link.name for link in links if link.vxlan}
        files = {f"/etc/podnet/current/{name}": sha for name, sha in generation.items()}
        return State(
            links=links,
            addresses=tuple(Address(d, c) for d, c in sorted(self.addresses)),
            recorded_addresses=recorded,
            routes=tuple(route for key, route in self.routes.items() if is_own(key)),
            neighbours=tuple(
                Neighbour(d, a, mac) for (d, a), mac in self.neighbours.items() if d in vxlans
            ),
            fdb=tuple(FdbEntry(d, mac, dst) for (d, mac), dst in self.fdb.items() if d in vxlans),
            sysctls=dict(self.sysctls),
            files={**self.files, **files},
            links_to=dict(self.symlinks),
            nft_loaded=self.nft,
            nft_present=bool(self.nft),
        )


def empty() -> Model:
    """A node without podnet, and with things of other people."""
    model = Model()
    model.link_add(["name", "br9", "address", "02:99:00:00:00:01", "type", "bridge"])
    vxlan = "name vx9 address 02:99:00:00:00:02 type vxlan id 64 local 192.0.2.9 dstport 4789"
    model.link_add([*vxlan.split(), "nolearning"])
    model.neighbours["vx9", "10.64.2.1"] = "02:99:00:00:00:03"
    model.fdb["vx9", "02:99:00:00:00:03"] = "192.0.2.99"
    for index in range(1, 7):
        for metric, proto in (("50", "static"), ("500", "112"), ("112", "static")):
            route = Route(f"10.64.{index}.0/24", "192.0.2.99", "")
            model.routes[route.dst, proto, metric] = route
    model.sysctls |= {"net/ipv4/ip_forward": "0", "net/ipv6/conf/all/forwarding": "0"}
    model.files["/etc/cni/net.d/05-foreign.conflist"] = "foreign"
    return model


__all__ = ["Model", "Sysctl", "empty", "is_own"]
