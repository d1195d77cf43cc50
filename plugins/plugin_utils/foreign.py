# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of interfaces that are not podnet's, and that pods' packets need. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from .kernel.objects import KernelObject, Sysctl
from .kernel.state import State


def needed_on_foreign_interfaces(objects: Iterable[KernelObject], have: State) -> dict[str, str]:
    """Settings of the underlay interface that would break pod traffic or the host's own.

    Reverse-path filtering counts the stricter of `all` and the interface (kernel,
    ip-sysctl.rst); strict drops pod packets while the two ways of a pair differ. With
    forwarding on, an interface takes router advertisements only at accept_ra=2 (same page), so
    1 becomes 2 and the host keeps the default route that it learned.
    """
    settings = {item.path for item in objects if isinstance(item, Sysctl)}
    has4 = "net/ipv4/ip_forward" in settings
    has6 = "net/ipv6/conf/all/forwarding" in settings
    # What cannot be read belongs to an interface that is gone.
    needed = {path: value for path, value in have.held.items() if path in have.sysctls}
    strict_all = have.sysctls.get("net/ipv4/conf/all/rp_filter") == "1"
    devices = list(dict.fromkeys(interface.dev for interface in have.underlay))
    for dev in devices if has4 else ():
        path = f"net/ipv4/conf/{dev}/"
        # Turning `ip_forward` on turns it on for every interface; only an interface that was
        # switched off afterwards needs more.
        forwarding = have.sysctls.get("net/ipv4/ip_forward") == "1"
        if forwarding and have.sysctls.get(path + "forwarding") == "0":
            needed[path + "forwarding"] = "1"
        own = have.sysctls.get(path + "rp_filter")
        if own == "1" or (strict_all and own == "0"):
            needed[path + "rp_filter"] = "2"
    for dev in dict.fromkeys([*devices, *have.ra_devices]) if has6 else ():
        path = f"net/ipv6/conf/{dev}/accept_ra"
        if have.sysctls.get(path) == "1":
            needed[path] = "2"
    return needed
