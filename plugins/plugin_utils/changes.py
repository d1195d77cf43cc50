# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node must have, and the ordered changes that bring it there, each with its undo.

add     new objects; nothing in use is altered
switch  objects in use get their new value, in place
remove  owned - wanted

Each phase is a barrier over the whole fleet: no node switches before every node has added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .kernel.objects import Command, KernelObject

PHASES = ("add", "switch", "remove")
PROGRAM = "/usr/local/sbin/podnet-node"


@dataclass(frozen=True, slots=True)
class Change:
    """One command, the command that takes it back (None: nothing to take back), and why."""

    do: Command
    undo: Command | None
    why: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything one node must have.

    Attributes:
        objects: the plan's kernel objects, in the order in which they can be made.
        files: absolute path → (name in the transaction's folder, SHA-256, mode).
        symlinks: absolute path → target.
        nft_sha256: of the rendered nftables file; empty when there shall be no table.
        nft_more: set or chain of the table → what it must have before anything is switched.
        nft_surplus: whether the table lets more through than it shall.
        nft_wide_sha256: of the file with what is in use until the end, which is loaded first;
            empty when nothing of that goes.
        generation_sha256: name → SHA-256 of every file of the generation.
        program_sha256: of `podnet-node`, which is installed before the transaction begins.
        owned: absolute paths of files that are podnet's; those that ``files`` does not name go.
    """

    objects: tuple[KernelObject, ...]
    files: Mapping[str, tuple[str, str, str]]
    symlinks: Mapping[str, str]
    nft_sha256: str
    generation_sha256: Mapping[str, str]
    program_sha256: str
    owned: frozenset[str] = frozenset()
    nft_more: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    nft_wide_sha256: str = ""
    nft_surplus: bool = False


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """What a node needs, by phase.

    ``stale_generation``: the definitions kept on the node are not the rendered ones, so that
    a new generation must be written even where the kernel is as it should be.
    ``stale_program``: the same for `podnet-node`.
    ``astray``: what is not as planned and no change of podnet's mends, such as a learned route.
    """

    add: tuple[Change, ...] = ()
    switch: tuple[Change, ...] = ()
    remove: tuple[Change, ...] = ()
    stale_generation: bool = False
    stale_program: bool = False
    warnings: tuple[str, ...] = ()
    astray: tuple[str, ...] = ()

    def phase(self, name: str) -> tuple[Change, ...]:
        return {"add": self.add, "switch": self.switch, "remove": self.remove}[name]

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases with something to do; stale files alone are written by ``add``."""
        found = tuple(name for name in PHASES if self.phase(name))
        return found or (("add",) if self.stale_generation or self.stale_program else ())
