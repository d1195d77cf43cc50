# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
# Pods' ends on the bridge, which their runtime put there and a bridge that is deleted lets go: part of
# podnet-node, which is one file on a node (`node_program` in workspace.py joins them).

# Those on no bridge that a CNI result has on the bridge of bridge.batch in this folder, as lines
# `PORT dev BRIDGE`. Runtimes keep results in libcni's cache, podnet its pods' own in their record.
loose_ports() {
  loose=
  for end in /proc/sys/net/ipv4/conf/veth*; do
    end=${end##*/}
    if [ -e "/sys/class/net/$end" ] && [ ! -e "/sys/class/net/$end/master" ]; then loose="$loose $end"; fi
  done
  [ -n "$loose" ] || return 0
  for file in /var/lib/cni/results/* /var/lib/podnet/pods/*/pod.json; do
    if [ -e "$file" ]; then echo @; cat "$file"; fi
  done | awk -v loose="$loose" '
    BEGIN { while ((getline <"bridge.batch") > 0) if ($1 == "link" && $2 == "add") bridge = $4
      n = split(loose, port, " ") }
    function told(i) {
      if (text ~ "\"name\": *\"" bridge "\"")
        for (i = 1; i <= n; i++) if (index(text, "\"" port[i] "\"")) found[port[i]] = 1
      text = ""
    }
    $0 == "@" { told(); next }
    { text = text $0 }
    END { told(); for (one in found) print one " dev " bridge }'
}
# PORT BRIDGE: with hairpin, as the conflist has it. A pod may end at any time, and its port with it.
attach() {
  if ip link set dev "$1" master "$2" && bridge link set dev "$1" hairpin on; then return 0; fi
  [ ! -e "/proc/sys/net/ipv4/conf/$1" ]
}
