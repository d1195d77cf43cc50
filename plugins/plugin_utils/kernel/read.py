# SPDX-License-Identifier: GPL-3.0-or-later
"""The read script: one POSIX shell program that prints a node's state in sections.

One round trip and a handful of short processes; the kernel does the work, the controller
does the thinking. It changes nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

# A process costs the node about a millisecond, nft three: so `ip` is asked everything in one batch, and
# what the shell can do by itself (read a line, list a folder) it does. All tables are asked for because
# that is the one question about routes which a batch answers for both families. nft fetches one
# family for all that it is told at once (1.0.6), and told line by line, as a person at its prompt
# would, what each line needs; it would note the lines in $HOME. Built without a prompt it fails.
_HEAD = r"""LC_ALL=C; export LC_ALL; PATH=$PATH:/usr/sbin:/sbin; export PATH
s() { printf '\n@@podnet %s\n' "$1"; }
r() { v=; [ ! -e "$1" ] || read -r v <"$1" || :; }
s last; r /run/podnet/last; echo "${v:-none}"
"""

# What the shell does not have to look at goes straight through: it takes a pipe by 128 bytes, and
# prints what it took once more.
_KERNEL = r"""s ip
ip -j -d -batch - <<'END'
{underlay}addr show type bridge
addr show type vxlan
neigh show nud permanent
route show table all
END
e=$?; s asked; echo $e
for a in {addresses}; do s "underlay $a"; done
cd /proc/sys/net/ipv4/conf
s ports; echo *
for d in pn*; do
  [ ! -e "$d" ] || { s "fdb $d"; bridge -j fdb show dev "$d"; }
done
cd /
s nft; r /run/podnet/nft; echo "$v"
s tables; if [ -n "$v" ]; then t=podnet; else t=$(nft list tables 2>/dev/null); fi
case $t in *podnet*) HOME=/dev/null nft -s -i 2>/dev/null <<'END' ||
list table inet podnet
list table bridge podnet
END
  for f in inet bridge; do nft -s list table $f podnet 2>/dev/null; done ;; esac
"""

# The shell reads a file by single bytes: of the batches only what comes before the peers.
_NODE = r"""k=; for f in /etc/podnet/current/bridge.batch /etc/podnet/current/vxlan.batch; do
  [ ! -e $f ] || while read -r a b d e; do
    case "$a $b" in "address replace") k="$k $d" ;; "neighbour replace") break ;; esac
  done <$f
done
s networkd; [ ! -d /run/systemd/netif/links ] ||
  grep -ls '^NETWORK_FILE=/etc/systemd/network/05-podnet-' /run/systemd/netif/links/*
s recorded; echo "$k"
s held; held=; [ ! -e /etc/podnet/underlay.sysctl ] || while read -r a b; do
  case $a in '#'*) ;; *) echo "$a $b"; held="$held $a" ;; esac
done </etc/podnet/underlay.sysctl
s node
[ -O /etc ] || echo unprivileged=yes
if cd -P /etc/podnet/current 2>/dev/null; then echo "current=$PWD"; cd /; fi
[ ! -e /etc/podnet/current/manifest.json ] || while read -r a b; do
  case $a in '"node":') echo "name=$b"; break ;; esac
done </etc/podnet/current/manifest.json
c=; for f in /etc/podnet/generations/*; do c="$c ${f##*/}"; done
echo "generations=$c"
if [ -d /etc/podnet/txn ]; then
  i=$(cat /etc/podnet/txn/id 2>/dev/null || echo -); p=$(cat /run/podnet/timer /run/podnet/lock 2>/dev/null)
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
c=; for f in /etc/systemd/system/*.wants/*.service; do
  d=${f##*/}; d=${d%.service}
  case $d in
    systemd-networkd|NetworkManager|networking|nftables|netfilter-persistent|docker|firewalld)
      [ ! -L "$f" ] || c="$c $d" ;;
  esac
done
[ ! -e /run/systemd/netif/state ] || c="$c systemd-networkd"
[ ! -d /run/NetworkManager ] || c="$c NetworkManager"
[ ! -e /run/docker.pid ] || c="$c docker"
[ ! -e /etc/ufw/ufw.conf ] || while read -r l; do
  case $l in ENABLED=yes*) c="$c ufw"; break ;; ENABLED=*) break ;; esac
done </etc/ufw/ufw.conf
if [ -d /run/systemd/system ] && [ -d /etc/firewalld ] && systemctl is-active --quiet firewalld 2>/dev/null; then c="$c firewalld"; fi
echo "daemons=$c"
c=; for f in /etc/podnet/accept.*; do
  case $f in *.ipv4) p=iptables ;; *.ipv6) p=ip6tables ;; *) continue ;; esac
  q=$({ cat "$f"; $p -w -S; } 2>/dev/null | grep PODNET- | sha256sum)
  [ "$q" = "$(cat /run/podnet/${f##*/} 2>/dev/null)" ] || c="$c $f"
done
echo "ineffective=$c"
c=; [ ! -x /usr/lib/frr/bgpd ] || [ ! -x /usr/lib/frr/frr-reload.py ] || c=installed
[ ! -x /usr/lib/frr/bfdd ] || c="$c bfdd"
for f in zebra podnet/watchfrr podnet/bgpd; do
  if { read -r p </run/frr/$f.pid && [ -d "/proc/$p" ]; } 2>/dev/null; then c="$c $f"; fi
done
echo "frr=$c"; d=$c
f=/etc/frr/podnet/frr.conf
[ ! -e $f ] || echo "frr_conf=$(sed 's/^\( neighbor .* password \).*/\1@podnet_bgp_password@/' $f | sha256sum)"
m=; for c in ip bridge nft sha256sum awk sed; do command -v "$c" >/dev/null || m="$m $c"; done
echo "missing=$m"
s running; case $d in *podnet/bgpd*) [ ! -e $f ] || timeout 10 vtysh -N podnet -c 'show running-config' 2>/dev/null |
  awk '{ at = match($0, /^ neighbor [^ ]+ password /) ? RLENGTH : 0; secret = substr($0, at + 1) }
    NR == FNR { if (at) known[secret]; next }
    at { $0 = substr($0, 1, at) (secret in known ? "@podnet_bgp_password@" : "@other@") }
    { print }' $f - ;;
esac
"""

# Who still holds an address of a range that is not wanted any more: host-local's notes, and
# what the network namespaces really have, so that a leaked note is told from a pod.
_HOLDERS = r"""old=
for a in $k; do
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

# Ends of running pods that are on no bridge; runtimes keep the results of CNI plugins (libcni's cache;
# podnet's own pods have theirs in their record). Others have veths too.
_LOOSE = r"""set --; c=
for d in /proc/sys/net/ipv4/conf/veth*; do
  d=${d##*/}; f=/sys/class/net/$d
  if [ -e $f ] && [ ! -e $f/master ]; then c="$c $d"; set -- "$@" -e "\"$d\""; fi
done
s loose; [ -z "$c" ] || { echo "$c"
  d=$(grep -lF "$@" /var/lib/cni/results/* /var/lib/podnet/pods/*/pod.json)
  [ -z "$d" ] || grep -oH '"name": *"[^"]*"' $d; } 2>/dev/null
"""

# The controller finds the underlay's interfaces in the answer. So all are read but ports of bridges,
# which are pods' ends and many.
_SYSCTLS = r"""cd /proc/sys
s sysctls
p() { r "$1"; [ -z "$v" ] || echo "$1:$v"; }
for f in {paths} $held net/ipv4/conf/all/rp_filter net/ipv6/conf/all/forwarding; do p "$f"; done
for d in net/ipv4/conf/*; do
  case $d in */all|*/default) continue ;; esac
  [ -e "/sys/class/net/${d##*/}/brport" ] ||
    for f in "$d/forwarding" "$d/rp_filter" "net/ipv6/conf/${d##*/}/accept_ra"; do p "$f"; done
done
cd /
"""

# The conflist may have had another name, and been in another folder, which the manifest remembers.
_FILES = r"""c={conf_dir}; d=; m=/etc/podnet/current/manifest.json; set --
for f in /etc/podnet/current/*.conflist; do set -- "$@" "$c/${f##*/}"; done
[ -e "$1" ] || [ ! -e $m ] || d=$(sed -n 's/^ *"podnet_cni_conf_dir": "\(.*\)",$/\1/p' $m)
[ -z "$d" ] || set -- "$@" "$d/${f##*/}"
s files
sha256sum {files} "$@" /etc/podnet/current/* 2>/dev/null
"""

# A plugin is asked for its versions only while it is newer than the last good apply; one speaks for
# those of its package, which have its time of modification.
_PLUGINS = r"""s plugins
r /run/podnet/cni; w=
for p in {plugins}; do
  b={bin_dir}/$p
  if [ ! -x "$b" ]; then echo "$p absent"
  elif [ /run/podnet/cni -nt "$b" ] && [ "$v" = {version} ]; then echo "$p known"
  else
    [ -n "$w" ] && [ ! "$b" -nt "$q" ] && [ ! "$q" -nt "$b" ] ||
      w=$(CNI_COMMAND=VERSION "$b" </dev/null 2>/dev/null)
    q=$b; echo $p $w
  fi
done
"""


def read_script(
    addresses: Iterable[str],
    underlay: Iterable[str],
    sysctls: Iterable[str],
    files: Iterable[str],
    symlinks: Mapping[str, str],
    plugins: Iterable[str],
    conf_dir: str,
    bin_dir: str,
    cni_version: str,
) -> str:
    """The script for one node. All arguments are values of the plan, quoted here once more;
    ``symlinks``: path → the target that it should have."""
    underlay = list(underlay)
    parts = [
        _HEAD,
        _KERNEL.replace(
            "{underlay}", "".join(f"addr show to {item}\n" for item in underlay)
        ).replace("{addresses}", _words(underlay)),
        _NODE,
        _HOLDERS.replace("{addresses}", " ".join(addresses)),
        _LOOSE,
        _SYSCTLS.replace("{paths}", _words(sysctls)),
        _FILES.replace("{files}", _words(files)).replace("{conf_dir}", shlex.quote(conf_dir)),
        "s symlinks\n",
    ]
    for path, target in symlinks.items():
        here, there = shlex.quote(path), shlex.quote(target)
        parts.append(
            f"if [ -L {here} ]; then\n"
            f'  [ {here} -ef {there} ] && t={there} || t=$(readlink {here}); echo {here} "$t"\nfi\n'
        )
    parts.append(
        _PLUGINS.replace("{plugins}", _words(plugins))
        .replace("{bin_dir}", shlex.quote(bin_dir))
        .replace("{version}", shlex.quote(cni_version))
    )
    parts.append("s end\n")
    return "".join(parts)


def _words(values: Iterable[str]) -> str:
    return " ".join(shlex.quote(value) for value in values)
