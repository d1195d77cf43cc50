# SPDX-License-Identifier: GPL-3.0-or-later
"""The read script: one POSIX shell program that prints a node's state in sections.

One round trip and a handful of short processes; the kernel does the work, the controller
does the thinking. It changes nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable

_HEAD = r"""LC_ALL=C; export LC_ALL; PATH=$PATH:/usr/sbin:/sbin; export PATH
s() { printf '\n@@podnet %s\n' "$1"; }
s last; cat /run/podnet/last 2>/dev/null || echo none
s bridges; ip -j -d link show type bridge
s vxlans; ip -j -d link show type vxlan
for d in $(ip -o link show type vxlan | sed 's/^[0-9]*: *\([^:@]*\).*/\1/'); do
  s "fdb $d"; bridge -j fdb show dev "$d"
done
s routes4; ip -j -4 route show table main
s routes6; ip -j -6 route show table main
s neighbours; ip -j neigh show nud permanent
s nft; cat /run/podnet/nft 2>/dev/null || echo
t=$(nft -s list table inet podnet 2>/dev/null; nft -s -t list table bridge podnet 2>/dev/null)
[ -z "$t" ] || printf '%s\n' "$t" | sha256sum
s senders; printf '%s\n' "$t" | sed -n '/^\tset vteps/,/^\t}/p'
s owners; for o in owners4 owners6; do nft list set bridge podnet $o; done 2>/dev/null
s ports; (cd /proc/sys/net/ipv4/conf && echo *)
s networkd; grep -ls '^NETWORK_FILE=/etc/systemd/network/05-podnet-' /run/systemd/netif/links/*
s recorded; sed -n 's/^address replace \([^ ]*\).*/\1/p' /etc/podnet/current/*.batch 2>/dev/null
s held; cat /etc/podnet/underlay.sysctl 2>/dev/null
s node
echo "current=$(readlink /etc/podnet/current)"
echo "generations=$(ls /etc/podnet/generations 2>/dev/null | tr '\n' ' ')"
[ -n "$t" ] && echo table=yes
if [ -d /etc/podnet/txn ]; then
  i=$(cat /etc/podnet/txn/id 2>/dev/null || echo -); p=$(cat /run/podnet/timer /run/podnet/lock/pid 2>/dev/null)
  echo pending=dead; echo "txn=$i"
  for q in $p; do case $(tr '\0' ' ' <"/proc/$q/cmdline" 2>/dev/null) in *podnet-*) echo pending=waiting ;; esac; done
  [ -d /run/systemd/system ] && systemctl is-active --quiet "podnet-confirm-$i-*.timer" && echo pending=waiting
fi
[ -d /etc/systemd/system ] && echo systemd=yes
if [ -d /run/systemd/system ]; then
  echo booted=yes
  h=podnet-heal.timer
  [ -e /etc/systemd/system/$h ] && systemctl is-active --quiet $h && echo "timers=$h"
fi
c=; for d in systemd-networkd NetworkManager networking nftables netfilter-persistent docker \
  firewalld; do
  for f in /etc/systemd/system/*.wants/$d.service; do [ ! -L "$f" ] || c="$c $d"; done
done
[ ! -e /run/systemd/netif/state ] || c="$c systemd-networkd"
[ ! -d /run/NetworkManager ] || c="$c NetworkManager"
[ ! -e /run/docker.pid ] || c="$c docker"
if grep -qs '^ENABLED=yes' /etc/ufw/ufw.conf; then c="$c ufw"; fi
if [ -d /etc/firewalld ] && systemctl is-active --quiet firewalld 2>/dev/null; then c="$c firewalld"; fi
echo "daemons=$c"
c=; for f in /etc/podnet/accept.*; do
  case $f in *.ipv4) p=iptables ;; *.ipv6) p=ip6tables ;; *) continue ;; esac
  q=$({ cat "$f"; $p -w -S; } 2>/dev/null | grep PODNET- | sha256sum)
  [ "$q" = "$(cat /run/podnet/${f##*/} 2>/dev/null)" ] || c="$c $f"
done
echo "ineffective=$c"
c=; [ ! -x /usr/lib/frr/bgpd ] || [ ! -x /usr/lib/frr/frr-reload.py ] || c=installed
for f in zebra podnet/watchfrr; do
  if { read -r p </run/frr/$f.pid && [ -d "/proc/$p" ]; } 2>/dev/null; then c="$c $f"; fi
done
echo "frr=$c"
f=/etc/frr/podnet/frr.conf
[ ! -e $f ] || echo "frr_conf=$(sed 's/^\( neighbor .* password \).*/\1@podnet_bgp_password@/' $f | sha256sum)"
m=; for c in ip bridge nft sha256sum awk sed; do command -v "$c" >/dev/null || m="$m $c"; done
echo "missing=$m"
"""

# Who still holds an address of a range that is not wanted any more: host-local's notes, and
# what the network namespaces really have, so that a leaked note is told from a pod.
_HOLDERS = r"""old=
for a in $(sed -n 's/^address replace \([^ ]*\).*/\1/p' /etc/podnet/current/*.batch 2>/dev/null); do
  case ' {addresses} ' in *" $a "*) ;; *) old=1 ;; esac
done
s reservations
[ -z "$old" ] || for f in /var/lib/cni/networks/*/*; do
  case ${f##*/} in *[.:]*) read -r id <"$f" && echo "${f##*/} $id" ;; esac
done 2>/dev/null
s live
[ -z "$old" ] || for n in $(ls -iL /proc/[0-9]*/ns/net /run/netns/* /run/podnet/netns/* 2>/dev/null |
    sort -n | awk '$1 != last { print $2; last = $1 }'); do
  nsenter --net="$n" ip -o addr show scope global 2>/dev/null | awk '{ sub("/.*", "", $4); print $4 }'
done
"""

_SYSCTLS = r"""s sysctls
set -- {paths}
for d in $devs; do
  set -- "$@" net/ipv4/conf/$d/forwarding net/ipv4/conf/$d/rp_filter net/ipv6/conf/$d/accept_ra
done
set -- "$@" $(sed -n 's/ = .*//p' /etc/podnet/underlay.sysctl 2>/dev/null) net/ipv4/conf/all/rp_filter
(cd /proc/sys; grep -Hs . "$@")
if [ "$(cat /proc/sys/net/ipv6/conf/all/forwarding 2>/dev/null)" = 0 ]; then
  (cd /proc/sys; grep -Hs . net/ipv6/conf/*/accept_ra)
fi
"""

# A plugin is asked for its versions only while it is newer than the last good apply.
_PLUGINS = r"""s plugins
for p in {plugins}; do
  b={bin_dir}/$p
  if [ ! -x "$b" ]; then echo "$p absent"
  elif [ /run/podnet/cni -nt "$b" ] && [ "$(cat /run/podnet/cni)" = {version} ]; then echo "$p known"
  else echo "$p $(CNI_COMMAND=VERSION "$b" </dev/null 2>/dev/null | tr -d '\n')"; fi
done
"""


def read_script(
    addresses: Iterable[str],
    underlay: Iterable[str],
    sysctls: Iterable[str],
    files: Iterable[str],
    symlinks: Iterable[str],
    plugins: Iterable[str],
    bin_dir: str,
    cni_version: str,
) -> str:
    """The script for one node. All arguments are values of the plan, quoted here once more."""
    parts = [
        _HEAD,
        "s addresses; ip -j addr show type bridge\ns overlay; ip -j addr show type vxlan\ndevs=\n",
    ]
    for address in underlay:
        parts.append(
            f"s 'underlay {address}'; u=$(ip -j addr show to {shlex.quote(address)})\n"
            "printf '%s\\n' \"$u\"\n"
            'devs="$devs $(printf %s "$u" | '
            'sed -n \'s/.*"ifname":"\\([^"]*\\)".*/\\1/p\')"\n'
        )
    parts.append(_HOLDERS.replace("{addresses}", " ".join(addresses)))
    parts.append(_SYSCTLS.replace("{paths}", _words(sysctls)))
    parts.append(f"s files; sha256sum {_words(files)} /etc/podnet/current/* 2>/dev/null\n")
    parts.append("s symlinks\n")
    for path in symlinks:
        parts.append(f"[ -L {shlex.quote(path)} ] && echo {shlex.quote(path)} $(readlink {path})\n")
    parts.append(
        _PLUGINS.replace("{plugins}", _words(plugins))
        .replace("{bin_dir}", shlex.quote(bin_dir))
        .replace("{version}", shlex.quote(cni_version))
    )
    parts.append("s end\n")
    return "".join(parts)


def _words(values: Iterable[str]) -> str:
    return " ".join(shlex.quote(value) for value in values)
