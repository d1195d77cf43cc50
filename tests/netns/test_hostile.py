# SPDX-License-Identifier: GPL-3.0-or-later
"""What the data model takes as free text, the settings of CNI plugins, comes to a node unharmed and
harms nothing there."""

from __future__ import annotations

import json

from corebench import Bench, fleet

HOSTILE = [
    "$(touch /run/hostile)",
    "`touch /run/hostile`",
    "'; touch /run/hostile; '",
    '"; touch /run/hostile; "',
    "\ntouch /run/hostile\n",
    "EOF\ntouch /run/hostile\n",
    "@@end\n\\n\\0%s%n$HOME",
    "é\u202eü\u2028",
]


def test_settings_of_plugins_arrive_as_they_are() -> None:
    chain = [{"type": "portmap", "capabilities": {"portMappings": True}, "notes": HOSTILE}]
    fabric = fleet(podnet_cni_chain=chain)
    with Bench() as bench:
        bench.settled(fabric)
        found = json.loads(bench.sh("cat /etc/cni/net.d/10-podnet.conflist"))
        assert found["plugins"][1]["notes"] == HOSTILE
        assert bench.sh("ls /run/hostile 2>/dev/null || echo none").strip() == "none"
        changes, _staged = bench.look(fabric)
        assert not changes.phases
        # Boot and healing read the same files.
        bench.sh("podnet-node heal; podnet-node restore")
        assert bench.sh("ls /run/hostile 2>/dev/null || echo none").strip() == "none"
