# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of the lab for the topic `verify`: what it takes to apply it and to verify it whole, and
its full mesh of pods by podnet's probes and by fping, from all nodes at once."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from contenders import Bench, Fleet

from ansible_collections.podnet.fabric.plugins.plugin_utils.node_python import (  # isort: skip
    answer,
    for_helper,
    script,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import (  # isort: skip
    node_modules,
)
from fleet import Spec  # isort: skip

POD = "podnet-verify-a"
GIVEN = {"conf_dir": "/etc/cni/net.d", "bin_dirs": ["/usr/lib/cni"], "port": 7717, "stay": True}
TIMES = {"attempts": 3, "timeout_ms": 1000}


class Mesh:
    """Context manager: the lab is up inside it."""

    def __init__(self, nodes: int) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="podnet-bench-")
        spec = Spec(segments={"rack-a": nodes - nodes // 2, "rack-b": nodes // 2})
        self.fleet = Fleet(Path(self.folder.name), spec, f"bench-v{os.getpid()}")

    def __enter__(self) -> Mesh:
        self.fleet.__enter__()
        self.bench = Bench(self.fleet)
        self.bench.wants(len(self.bench.names))
        return self

    def __exit__(self, *what: Any) -> None:
        self.bench.disconnect()
        self.fleet.__exit__(None, None, None)
        self.folder.cleanup()

    def whole(self) -> dict[str, Callable[[], None]]:
        """A first apply, over connections that are made then, and the verification right after
        it."""
        self.bench.disconnect()
        return {
            what: partial(self.bench.playbook, f"podnet.fabric.{playbook}")
            for what, playbook in (("first apply", "converge"), ("verification", "verify"))
        }

    def start(self) -> None:
        """The probe pods of every node."""
        program = {name: self._program(name, state="started") for name in self.bench.names}
        said = self._everywhere(program)
        self.addresses = {
            name: next(p["addresses"] for p in of["observation"]["pods"] if p["name"] == POD)
            for name, of in ((name, answer(0, out, "")) for name, out in said.items())
        }

    def stop(self) -> None:
        self._everywhere({n: self._program(n, state="absent") for n in self.bench.names})

    def podnet(self) -> None:
        """ICMP to all others, both families, as the action `verify` has it."""
        texts = {
            name: for_helper({**GIVEN, **TIMES, "node": name, "state": "probed", "targets": to})
            for name, to in ((n, self._targets(n)) for n in self.bench.names)
        }
        for name, out in self._everywhere(texts).items():
            probes = answer(0, out, "").get("probes", [])
            if len(probes) != 2 * len(self.addresses) - 2 or not all(p["ok"] for p in probes):
                raise AssertionError(f"{name}: not all have answered: {out[:300]}")

    def fping(self) -> None:
        """The same, from the same pods; both families at once."""
        into = f"nsenter --net=/run/podnet/netns/{POD} fping -q -c1 -t1000 -i1 -r2"
        texts = {}
        for name in self.bench.names:
            far = [of for other, of in self.addresses.items() if other != name]
            four, six = (" ".join(of[family] for of in far) for family in ("ipv4", "ipv6"))
            # What is silent is an error; what fping says of each goes nowhere.
            begun = f"{into} -4 {four} >/dev/null 2>&1 & {into} -6 {six} >/dev/null 2>&1"
            texts[name] = f"{begun} || exit 1; wait $!\n"
        self._everywhere(texts)

    def _targets(self, name: str) -> list[dict[str, Any]]:
        return [
            {"id": f"{family} {other}", "from": "a", "kind": "icmp", "address": address}
            for other, of in self.addresses.items()
            if other != name
            for family, address in of.items()
        ]

    def _program(self, name: str, **more: Any) -> str:
        return script(node_modules(), "probe_pods.observed", {**GIVEN, "node": name, **more})

    def _everywhere(self, texts: Mapping[str, str]) -> dict[str, str]:
        """A shell text to each node at once, over connections that stay; what they say."""
        socket = f"ControlPath={self.bench.folder}/floor-%n.sock"
        options = ("-o", socket, "-o", "ControlMaster=auto", "-o", "ControlPersist=600")
        running, found = {}, {}
        for name, text in texts.items():
            given, said = (self.bench.folder / f"{kind}-{name}" for kind in ("text", "said"))
            given.write_text(text, encoding="utf-8")
            command = ["ssh", "-F", str(self.bench.ssh_config), *options, name, "sh -s"]
            with given.open("rb") as stream, said.open("wb") as output:
                running[name] = subprocess.Popen(
                    command, stdin=stream, stdout=output, stderr=subprocess.DEVNULL
                )
        for name, process in running.items():
            if process.wait():
                raise AssertionError(f"{name}: exit code {process.returncode}")
            found[name] = (self.bench.folder / f"said-{name}").read_text(encoding="utf-8")
        return found
