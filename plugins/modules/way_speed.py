#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How fast the way from a probe pod to others is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: way_speed
short_description: Measure throughput and round trip from a probe pod to others
version_added: 0.1.0
description:
  - One TCP stream and a series of single UDP packets to each target, one target after the other,
    within the given time and rate. The far side is a probe pod of
    M(podnet.fabric.reachability), and counts what arrives.
  - The action P(podnet.fabric.verify#module) chooses the targets.
options:
  pod:
    description: Name of the probe pod from which is measured; it runs.
    type: str
    default: podnet-verify-a
  targets:
    description: Addresses of probe pods.
    type: list
    elements: str
    required: true
  port:
    description: Port on which the probe pods answer, UDP and TCP.
    type: int
    default: 7717
  seconds:
    description: Time for each of the two measurements of a target, 1 to 5.
    type: int
    default: 2
    choices: [1, 2, 3, 4, 5]
  most_mbit:
    description: Mbit/s that are sent at most; what is faster is not told apart.
    type: int
    default: 1000
extends_documentation_fragment:
  - podnet.fabric.attributes
attributes:
  check_mode:
    support: none
    details: It sends packets.
  diff_mode:
    support: none
  idempotent:
    support: full
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
- name: Measure the way to a probe pod
  podnet.fabric.way_speed:
    targets: [10.64.2.5]
    seconds: 1
    most_mbit: 200
"""

RETURN = r"""
speeds:
  description: One entry per target, in the same order.
  type: list
  elements: dict
  returned: success
  contains:
    mbit:
      description: Mbit/s of payload that arrived.
      type: float
    limited:
      description: Whether O(most_mbit) was reached, so that the way may be faster.
      type: bool
    rtt_us:
      description: Median round trip in microseconds.
      type: int
    error:
      description: Why nothing could be measured; the other fields are not there then.
      type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import stream

SPEC = {
    "pod": {"type": "str", "default": "podnet-verify-a"},
    "targets": {"type": "list", "elements": "str", "required": True},
    "port": {"type": "int", "default": 7717},
    "seconds": {"type": "int", "default": 2, "choices": [1, 2, 3, 4, 5]},
    "most_mbit": {"type": "int", "default": 1000},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC)
    result = stream.measured(module.params)
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
