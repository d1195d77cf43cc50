# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node's FRR is asked: which daemons run, sessions, routes, and its configuration.

It only reads. A password never leaves the node: each is compared there with the planned one, and a
mark stands in its place.
"""

from __future__ import annotations

from ..frr import SENT

MARKER = "@@bgp "
PLANNED, OTHER = "@planned@", "@other@"

# vtysh waits for a daemon that is stopped as long as it takes.
_TEXT = r"""LC_ALL=C; export LC_ALL; PATH=$PATH:/usr/sbin:/sbin; export PATH
b() { printf '\n@@bgp %s\n' "$1"; }
v() { timeout 10 vtysh -N podnet "$@" 2>/dev/null; }
masked() { { cat <<'PODNET_PASSWORD'
x{secret}
PODNET_PASSWORD
"$@"; } | awk 'NR == 1 { secret = substr($0, 2); next }
  match($0, /^ neighbor [^ ]+ password /) {
    mark = substr($0, RLENGTH + 1) == secret ? "{planned}" : "{other}"
    $0 = substr($0, 1, RLENGTH) mark }
  { print }'; }
b daemons; for d in watchfrr zebra bgpd; do
  read -r p 2>/dev/null </run/frr/podnet/$d.pid || continue
  case $(tr '\0' ' ' <"/proc/$p/cmdline") in *frr/$d*podnet*) echo $d ;; esac
done 2>/dev/null
b sessions; v -c 'show bgp summary json'
b learned4; ip -j -4 route show proto bgp
b learned6; ip -j -6 route show proto bgp
b running; masked v -c 'show running-config'
b file; masked cat /etc/frr/podnet/frr.conf 2>/dev/null
"""
_TABLES = r"""b table4; v -c 'show bgp ipv4 unicast json'
b table6; v -c 'show bgp ipv6 unicast json'
b neighbours; v -c 'show bgp neighbors json'
"""


def script(tables: bool) -> str:
    """The shell text; `frr.with_password` puts the password in when it is sent.

    Args:
        tables: also every path that bgpd knows, and why sessions ended; long in a large fleet.
    """
    text = _TEXT.replace("{secret}", SENT).replace("{planned}", PLANNED).replace("{other}", OTHER)
    return text + (_TABLES if tables else "") + "b end\n"
