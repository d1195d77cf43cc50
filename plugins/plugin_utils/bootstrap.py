# SPDX-License-Identifier: GPL-3.0-or-later
"""A bare node made ready: what is missing, and the shell text that installs it. Pure.

Asked for is the program, not the package: a node that has it from elsewhere is left alone.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .cni_install import RefusedError
from .intent.problems import Problem

MANAGERS = ("apt", "dnf")
# Program → its package in Debian and its like, and in Fedora, RHEL and theirs.
PACKAGES: dict[str, tuple[str, str]] = {
    "ip": ("iproute2", "iproute"),
    "bridge": ("iproute2", "iproute"),
    "nft": ("nftables", "nftables"),
    "awk": ("mawk", "gawk"),
    "sed": ("sed", "sed"),
    "sha256sum": ("coreutils", "coreutils"),
    "nsenter": ("util-linux", "util-linux-core"),
    "setsid": ("util-linux", "util-linux"),
    "python3": ("python3", "python3"),
}
# Where a program alone does not say it: packages, alike in both families of distributions.
PLUGINS, FRR = "CNI plugins", "FRR"
MORE: dict[str, tuple[str, ...]] = {
    PLUGINS: ("containernetworking-plugins",),
    FRR: ("frr", "frr-pythontools"),
}
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:~_%-]*\.(deb|rpm)")
# An entry of sources.list, or a URL for dnf; no quotes and nothing that ends a line.
REPOSITORY = re.compile(r"[A-Za-z0-9 \[\]=:/.,@+~_%&?-]+")
END = "PODNET_PACKAGE"  # base64 has no underscore

_LOOK = """PATH=$PATH:/usr/sbin:/sbin
m=; for c in {programs}; do command -v "$c" >/dev/null 2>&1 || m="$m $c"; done
{plugins}{frr}p=none; for c in dnf apt-get; do if command -v $c >/dev/null 2>&1; then p=$c; fi; done
echo "manager=${p%-get}"; echo "missing=$m"
"""
_LOOK_FRR = """[ -x /usr/lib/frr/bgpd ] && [ -x /usr/lib/frr/frr-reload.py ] || m="$m frr"
"""
_START = """set -eu; umask 022; PATH=$PATH:/usr/sbin:/sbin; export PATH
DEBIAN_FRONTEND=noninteractive; export DEBIAN_FRONTEND
t=$(mktemp -d); chmod 755 "$t"; mkdir "$t"/none "$t"/lists; trap 'rm -rf "$t"' EXIT
trap 'exit 1' HUP INT TERM
p=/usr/sbin/policy-rc.d; q=
! grep -qs '^# podnet' $p || rm $p  # an earlier one came to no end
"""
# podnet starts an FRR of its own; the distribution's, which its package would start, must not run
# beside it. One that was there before is somebody's, and is left alone.
_QUIET = """if [ ! -e /usr/lib/frr/zebra ]; then
  q=1
  if [ ! -e $p ]; then
    trap 'rm -rf "$t" $p' EXIT
    printf '#!/bin/sh\\n# podnet.fabric.bootstrap\\nexit 101\\n' >$p; chmod 755 $p
  fi
fi
"""
_DISABLED = """if [ -n "$q" ] && command -v systemctl >/dev/null; then
  systemctl -q disable frr.service 2>/dev/null || :
  if [ -d /run/systemd/system ]; then systemctl stop frr.service || :; fi
fi
"""
_APT = "apt-get {options}-q -y --no-install-recommends install {what} </dev/null\n"
_DNF = "dnf {options}-q -y install {what} </dev/null\n"


@dataclass(frozen=True, slots=True)
class Source:
    """Where packages come from; the node's own repositories when both are empty.

    Attributes:
        repository: for apt an entry of sources.list, for dnf a URL; used for this once.
        files: name → content of package files that the controller sends.
    """

    repository: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """What a node says of itself: its package manager, and what it lacks."""

    manager: str
    missing: tuple[str, ...]


def look_script(bin_dir: str, python: bool, frr: bool = False) -> str:
    """Text that says what a node lacks; it changes nothing. ``bin_dir``: empty where somebody else
    brings the CNI plugins."""
    programs = [name for name in PACKAGES if python or name != "python3"]
    text = _LOOK.replace("{programs}", " ".join(programs))
    text = text.replace("{frr}", _LOOK_FRR if frr else "")
    plugins = f'[ -x {shlex.quote(bin_dir)}/bridge ] || m="$m plugins"\n' if bin_dir else ""
    return text.replace("{plugins}", plugins)


def found(output: str) -> Found:
    """Parse the answer.

    Raises:
        RefusedError: it is none.
    """
    words = dict(line.partition("=")[::2] for line in output.splitlines() if "=" in line)
    if "manager" not in words or "missing" not in words:
        raise RefusedError(
            f"the node does not answer as a shell does: expected manager=…, found {output[-200:]!r}"
        )
    names = {"plugins": PLUGINS, "frr": FRR}
    missing = tuple(names.get(name, name) for name in words["missing"].split())
    return Found(words["manager"], missing)


def packages(node: Found) -> tuple[str, ...]:
    """The packages of what is missing, each once.

    Raises:
        RefusedError: the node has neither apt-get nor dnf.
    """
    if node.manager not in MANAGERS:
        raise RefusedError(
            "the node has no package manager that podnet knows. Expected apt-get or dnf, found "
            f"neither; install by hand: {', '.join(node.missing)}"
        )
    which = MANAGERS.index(node.manager)
    names = [MORE.get(name) or (PACKAGES[name][which],) for name in node.missing]
    return tuple(dict.fromkeys(name for of in names for name in of))


def by_hand(programs: Iterable[str]) -> str:
    """The packages of programs, for a person: `mawk (Fedora, RHEL: gawk)`."""
    pairs = [PACKAGES.get(name, (name, name)) for name in programs]
    debian, other = (list(dict.fromkeys(pair[which] for pair in pairs)) for which in (0, 1))
    return words(debian) + (f" (Fedora, RHEL: {words(other)})" if other != debian else "")


def told(node: str, lacks: Sequence[str], names: Sequence[str], check_mode: bool) -> str:
    """One line for a person: what a node lacks, and what is done about it."""
    verbs = ("lacks", "would install") if check_mode else ("lacked", "installed")
    return f"{node} {verbs[0]} {words(lacks)}: {verbs[1]} {words(names)}"


def still_missing(
    node: str, left: Sequence[str], names: Sequence[str], bin_dir: str, files: bool
) -> list[Problem]:
    """What an installation that ended well has not brought. The package manager does nothing
    where a package is there and its files are not."""
    what = f"still missing after the installation of {words(names)}"
    problems = []
    if programs := [name for name in left if name not in MORE]:
        texts = ("the programs in PATH", "no " + words(programs))
        problems.append((f"{node}: PATH", *texts, _again(by_hand(programs), files)))
    if PLUGINS in left:
        remedy = _again(words(MORE[PLUGINS]), files) + "; or set podnet_cni_bin_dir to their folder"
        texts = ("the plugin bridge", "no such program")
        problems.append((f"{node}: podnet_cni_bin_dir {bin_dir}", *texts, remedy))
    if FRR in left:
        texts = ("bgpd and frr-reload.py", "not both of them")
        problems.append((f"{node}: /usr/lib/frr", *texts, _again(words(MORE[FRR]), files)))
    return [Problem(where, what, *texts) for where, *texts in problems]


def _again(names: str, files: bool) -> str:
    if files:
        return f"add {names} to podnet_bootstrap_files; where it is installed already, reinstall it"
    return f"reinstall {names}: the package is there, and its files are not"


def check(source: Source) -> None:
    """Nothing when it can be used.

    Raises:
        RefusedError: what is wrong with it.
    """
    if source.repository and not REPOSITORY.fullmatch(source.repository):
        raise RefusedError(
            "podnet_bootstrap_repository: expected one entry of sources.list (apt) or one URL "
            f"(dnf), found {source.repository[:80]!r}"
        )
    for name in source.files:
        if not FILE.fullmatch(name):
            raise RefusedError(
                f"podnet_bootstrap_files: expected the names of .deb or .rpm files, found {name!r}"
            )


def install_script(manager: str, names: Sequence[str], source: Source) -> bytes:
    """Text that installs packages: files that come with it where there are some, or else by name
    from the repository."""
    parts = [_START.encode()]
    for name, content in source.files.items():
        head = f"base64 -d >\"$t\"/{shlex.quote(name)} <<'{END}'\n"
        parts += [head.encode(), base64.encodebytes(content), f"{END}\n".encode()]
    what = " ".join(shlex.quote(name) for name in names)
    if source.files:
        what = '"$t"/*.deb' if manager == "apt" else '"$t"/*.rpm'
    text = (_apt if manager == "apt" else _dnf)(what, source)
    if "frr" in names or any(re.match(r"frr[_-]", name) for name in source.files):
        text = _QUIET + text + _DISABLED
    parts.append(text.encode())
    return b"".join(parts)


def _apt(what: str, source: Source) -> str:
    if source.files:
        # No repository at all. Not --no-download: with it apt 2.6 loses the files' paths.
        options = '-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$t"/none '
        return _APT.replace("{options}", options).replace("{what}", what)
    options = ""
    lines = ""
    if source.repository:
        lines = f'echo {shlex.quote(source.repository)} >"$t"/sources.list\n'
        options = '-o Dir::Etc::SourceList="$t"/sources.list -o Dir::Etc::SourceParts="$t"/none '
        options += '-o Dir::State::Lists="$t"/lists '
    lines += f"apt-get {options}-q update </dev/null\n"
    return lines + _APT.replace("{options}", options).replace("{what}", what)


def _dnf(what: str, source: Source) -> str:
    options = "--disablerepo='*' " if source.files else ""
    if source.repository and not source.files:
        url = shlex.quote(f"podnet,{source.repository}")
        options = f"--repofrompath={url} --repo=podnet --nogpgcheck "
    return _DNF.replace("{options}", options).replace("{what}", what)


def words(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"
