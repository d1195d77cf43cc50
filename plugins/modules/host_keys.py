#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name; the work is done in plugins/action."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_keys
short_description: Pin the nodes' SSH host keys before the first contact
version_added: 0.1.0
description:
  - Runs once, on the controller, for all hosts of the play, and logs in nowhere.
  - Collects the host keys that the SSH servers at C(ansible_host) and C(ansible_port) show, and
    compares them with the fingerprints in C(podnet_host_key_fingerprints) of each host.
  - A host without a fingerprint, or with another key than the pinned one, is refused, and then
    nothing is written for any host.
  - Keys that match are written to the file that ssh reads; what that has of a host and is not
    pinned is taken out. Lines of others stay as they are.
  - Needs paramiko and ssh-keygen on the controller.
options:
  known_hosts:
    description: File on the controller that ssh reads host keys from.
    type: path
    default: ~/.ssh/known_hosts
  timeout:
    description: Seconds to wait for each server.
    type: int
    default: 10
extends_documentation_fragment:
  - podnet.fabric.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: Each key that is written, and what it replaces, is said in any mode.
  idempotent:
    support: full
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
- name: Compare the nodes' host keys with the pinned ones
  podnet.fabric.host_keys:
  run_once: true
"""

RETURN = r"""
podnet_lines:
  description: The keys written and those that they replace, one line per host.
  type: list
  elements: str
  returned: success
"""
