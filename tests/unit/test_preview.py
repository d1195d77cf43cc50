# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of a fleet before it is changed."""

from __future__ import annotations

from ansible_collections.podnet.fabric.plugins.plugin_utils.fleet.preview import differences

RUNS = {
    "node-2": {
        "phases": ["add", "switch", "remove"],
        "shown": {
            "add": ["ip link add cbr0    # missing"],
            "switch": ["nft podnet.nft    # differs", "sysctl a=1    # was 0"],
            "remove": ["ip address del x    # not wanted any more"],
        },
        "astray": ["node-2: somebody else's"],
    },
    "node-1": {"phases": [], "shown": {"add": ["never said    # missing"]}},
}


def test_a_difference_says_its_reason_once() -> None:
    assert differences(RUNS) == [
        "node-2: missing: ip link add cbr0",
        "node-2: differs: nft podnet.nft",
        "node-2: differs: sysctl a=1    # was 0",
        "node-2: not wanted: ip address del x",
        "node-2: somebody else's",
    ]


def test_of_many_differences_the_first_are_said_and_the_number_of_the_others() -> None:
    found = differences(RUNS, limit=1)
    more = "node-2: and 4 more (.podnet/status.json has all)"
    assert found == ["node-2: missing: ip link add cbr0", more]
