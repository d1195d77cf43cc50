# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of Ansible that make a run slower than it has to be, in one line. Pure."""

from __future__ import annotations

from dataclasses import dataclass

# As many at once as the shipped ansible.cfg has; a fleet of fewer nodes needs no more than it has.
FORKS = 50


@dataclass(frozen=True, slots=True)
class Settings:
    """How Ansible reaches the nodes; ``ssh_args``: everything that it gives to `ssh`."""

    forks: int
    pipelining: bool
    ssh_args: str


def hint(settings: Settings, nodes: int) -> str:
    """What to set, and what it is now; empty when nothing of it makes a run slow."""
    found = []
    if settings.forks < min(nodes, FORKS):
        found.append(f"forks = {min(nodes, FORKS)} (it is {settings.forks})")
    if not settings.pipelining:
        found.append("pipelining = True (it is off)")
    words = settings.ssh_args.replace("=", " ").split()
    persist = [words[i + 1] for i, word in enumerate(words[:-1]) if word == "ControlPersist"]
    if not persist or persist[0] == "no":
        options = "-o ControlMaster=auto -o ControlPersist=60s"
        found.append(f"ssh_args = {options} (each task makes connections of its own)")
    return f"hint: faster with {', '.join(found)}, as in the shipped ansible.cfg" if found else ""
