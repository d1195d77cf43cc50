#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""A contender of the benchmark: one module that applies what a node lacks of its definitions."""

from __future__ import annotations

import json
import os
import subprocess

from ansible.module_utils.basic import AnsibleModule

ROUTES = "/etc/one-module"


def run(argv, text=None):
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def write(path, text):
    """True when the file was not so already."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as stream:
            if stream.read() == text:
                return False
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(path + ".new", path)
    return True


def destinations():
    """What podnet's protocol routes to now."""
    found = set()
    for family in ("-4", "-6"):
        items = json.loads(run(["ip", "-j", family, "route", "show", "proto", "112"])[1] or "[]")
        found |= {(item["dst"], item.get("gateway", "")) for item in items}
    return found


def wanted(lines):
    words = [line.split() for line in lines.splitlines() if line.startswith("route replace")]
    return {(item[2], item[item.index("via") + 1]) for item in words}


def apply(definitions):
    changed = False
    for path, text in definitions["files"].items():
        changed |= write(path, text)
    if write(ROUTES + "/sysctl", definitions["sysctl"]):
        run(["sysctl", "-q", "-p", ROUTES + "/sysctl"])
        changed = True
    devices = write(ROUTES + "/devices", definitions["devices"])
    if devices or not os.path.exists("/proc/sys/net/ipv4/conf/cbr0"):
        run(["ip", "-force", "-batch", "-"], definitions["devices"])
        run(["bridge", "-batch", "-"], definitions["fdb"])
        changed = True
    have, want = destinations(), wanted(definitions["routes"])
    if not want <= have:
        run(["ip", "-batch", "-"], definitions["routes"])
        changed = True
    for dst, _via in have - want:
        if dst not in {item[0] for item in want}:
            run(["ip", "route", "del", dst, "proto", "112", "metric", "112"])
            changed = True
    if write(ROUTES + "/nft", definitions["nft"]):
        run(["nft", "-f", "-"], definitions["nft"])
        changed = True
    return changed


def main():
    module = AnsibleModule({"definitions": {"type": "dict", "required": True}})
    module.exit_json(changed=apply(module.params["definitions"]))


if __name__ == "__main__":
    main()
