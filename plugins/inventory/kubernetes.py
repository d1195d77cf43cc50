# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Inventory from the nodes of a Kubernetes cluster, whose pod network podnet is to be."""

from __future__ import annotations

DOCUMENTATION = r"""
name: kubernetes
short_description: Nodes from a Kubernetes cluster
version_added: 0.1.0
description:
  - Takes pod CIDRs from C(spec.podCIDRs) and underlay addresses from the internal addresses of each
    node, from a saved C(kubectl get nodes -o json) or from the cluster by C(kubectl).
  - Nodes without a pod CIDR or an internal address are refused, all of them at once.
options:
  plugin:
    description: Name of this plugin.
    type: str
    required: true
    choices: [podnet.fabric.kubernetes]
  file:
    description: A saved list; relative to the inventory file. Without it kubectl is asked.
    type: str
  kubeconfig:
    description: For kubectl, which has its own default.
    type: path
  context:
    description: For kubectl.
    type: str
  segment_label:
    description:
      - Label of the nodes whose value is the layer-2 segment, such as
        C(topology.kubernetes.io/zone).
      - Without it all nodes are in one segment.
    type: str
    default: ''
  require_pod_cidrs:
    description:
      - Whether a node without a pod CIDR is refused.
      - V(false) leaves it without, for a cluster whose controller manager gives none; the playbook
        C(podnet.fabric.allocate) does then.
    type: bool
    default: true
  group:
    description: Group of the nodes.
    type: str
    default: podnet
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
# cluster.podnet.yml
plugin: podnet.fabric.kubernetes
file: nodes.json
segment_label: topology.kubernetes.io/zone
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from ansible.plugins.inventory import BaseInventoryPlugin

from ..plugin_utils.intent.rows import enter, from_kubernetes
from ..plugin_utils.sources import reading


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]  # ansible ships no types
    NAME = "podnet.fabric.kubernetes"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith((".yml", ".yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        file = self._file(path)
        with reading(path, str(file or "kubectl"), str(file) if file else None):
            data = json.loads(file.read_text(encoding="utf-8-sig") if file else self._asked())
            label = str(self.get_option("segment_label"))
            hosts = from_kubernetes(data, label, bool(self.get_option("require_pod_cidrs")))
        enter(inventory, str(self.get_option("group")), hosts)

    def _file(self, path: str) -> Path | None:
        saved = self.get_option("file")
        return Path(path).parent / str(saved) if saved else None

    def _asked(self) -> str:
        command = ["kubectl", "get", "nodes", "-o", "json"]
        for option in ("kubeconfig", "context"):
            if self.get_option(option):
                command.append(f"--{option}={self.get_option(option)}")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            # Its log of what it tried comes first, and what came of it last.
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise OSError(lines[-1])
        return done.stdout
