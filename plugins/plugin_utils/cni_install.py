# SPDX-License-Identifier: GPL-3.0-or-later
"""How CNI plugins come to a node: what is accepted, and the shell text that a node runs. Pure.

Everything travels as the text of one `sh -s`, the archive too, so that a node's sudo rules need to
know no other command line (docs/least-privilege.md).
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex

# With a version (`name=1.1.1`) where the package manager takes one. No dash first, which would be
# an option, and none last, with which apt-get removes the package.
PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.+:~=_-]*[A-Za-z0-9+])?")
SHA256 = re.compile(r"[0-9a-f]{64}")
END = "PODNET_ARCHIVE"  # base64 has no underscore, so that no line of the archive is this one

_PACKAGE = """set -eu; PATH=$PATH:/usr/sbin:/sbin; export PATH
if command -v apt-get >/dev/null; then
  DEBIAN_FRONTEND=noninteractive; export DEBIAN_FRONTEND
  apt-get update -q </dev/null
  apt-get install -q -y --no-install-recommends {package} </dev/null
elif command -v dnf >/dev/null; then dnf install -q -y {package} </dev/null
else echo 'neither apt-get nor dnf; use podnet_cni_install=tarball' >&2; exit 1; fi
"""

# Into a folder beside the target, then each program renamed over the old one: a runtime that calls
# a plugin meanwhile finds the old or the new one, never half of one. Only programs: no links, no
# texts. bash reads a script from a pipe byte by byte, which takes it half a minute here; it has
# read no further than its command, so the rest of the input is the archive.
_UNPACK = """set -eu; umask 022
unpack() {
  mkdir -p {bin_dir}; t=$(mktemp -d {bin_dir}/.podnet.XXXXXX); trap 'rm -rf "$t"' EXIT
  base64 -d | tar -xzf - -C "$t"
  for f in "$t"/*; do
    if [ -f "$f" ] && [ ! -L "$f" ] && [ -x "$f" ]; then
      chown 0:0 "$f"; chmod 0755 "$f"; mv -f "$f" {bin_dir}/
    fi
  done
}
if [ -n "${BASH_VERSION:-}" ]; then sed '1d;$d' | unpack; exit; fi
unpack <<'{end}'
"""


class RefusedError(ValueError):
    """What was given is not taken; the text says what was expected."""


def package_script(package: str) -> bytes:
    """Text that installs a package of the distribution.

    Raises:
        RefusedError: not the name of one package.
    """
    if not PACKAGE.fullmatch(package):
        raise RefusedError(
            f"podnet_cni_package: not the name of a package. Expected a name such as "
            f"containernetworking-plugins, found {package[:80]!r}"
        )
    return _PACKAGE.replace("{package}", shlex.quote(package)).encode()


def checksum(src: str, sha256: str) -> str:
    """The checksum in the form in which it is compared.

    Raises:
        RefusedError: no archive, or nothing that could be the checksum of one.
    """
    if not src or not sha256:
        raise RefusedError(
            "podnet_cni_tarball: not set. Expected the path or URL of an archive of CNI plugins, "
            "and podnet_cni_tarball_sha256 with its SHA-256; found "
            f"{src or 'no archive'} and {sha256 or 'no checksum'}"
        )
    if not SHA256.fullmatch(sha256.lower()):
        raise RefusedError(
            "podnet_cni_tarball_sha256: not a SHA-256. Expected 64 hexadecimal digits, as "
            f"sha256sum prints them, found {sha256[:80]!r}"
        )
    return sha256.lower()


def compare(src: str, content: bytes, sha256: str) -> None:
    """Nothing when the content is the expected one.

    Raises:
        RefusedError: it is another one.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise RefusedError(
            f"podnet_cni_tarball: {src} is not the expected file. Expected SHA-256 {sha256}, "
            f"found {found}; correct the checksum, or find out who changed the file"
        )


def archive_script(content: bytes, bin_dir: str) -> bytes:
    """Text that unpacks an archive into the plugins' folder; bytes, because it is large. Needs tar,
    base64 and mktemp."""
    head = _UNPACK.replace("{bin_dir}", shlex.quote(bin_dir)).replace("{end}", END)
    return b"".join((head.encode(), base64.encodebytes(content), f"{END}\n".encode()))
