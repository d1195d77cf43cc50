# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh disable=SC2154  # podnet-node, which reads this, sets the variables
# Telling other daemons of the host: part of podnet-node, which is one file on a node
# (`node_program` in workspace.py joins them).

reload_daemon() {  # UNIT: one that does not run reads its files when it starts
  systemctl is-active --quiet "$1" 2>/dev/null || return 0
  case $1 in
    systemd-networkd) networkctl reload ;;
    firewalld) firewall-cmd --quiet --reload ;;  # systemctl's does not wait for the end
    *) systemctl reload "$1" ;;
  esac
}

# Two chains of podnet's in iptables' own table, at the head of FORWARD and INPUT, with the rules
# of $root/accept.FAMILY; without that file they go.
accept() {  # FAMILY
  case $1 in ipv4) tables=iptables ;; *) tables=ip6tables ;; esac
  rules=$root/accept.$1
  if [ -e "$rules" ]; then
    "$tables-restore" -w --noflush "$rules" && jump INPUT && jump FORWARD || return
    mkdir -p "$run" && listed=$(list_accepted "$tables" "$rules") &&
      printf '%s\n' "$listed" >"$run/accept.$1"
  else
    rm -f "$run/accept.$1"
    command -v "$tables" >/dev/null || return 0
    for chain in INPUT FORWARD; do
      while "$tables" -w -D $chain -j PODNET-$chain 2>/dev/null; do :; done
      if "$tables" -w -F PODNET-$chain 2>/dev/null; then "$tables" -w -X PODNET-$chain || return; fi
    done
  fi
}
jump() {  # CHAIN, of $tables
  "$tables" -w -C "$1" -j "PODNET-$1" 2>/dev/null || "$tables" -w -I "$1" -j "PODNET-$1"
}
list_accepted() { { cat "$2"; "$1" -w -S; } | grep PODNET- | sha256sum; }  # PROGRAM FILE
not_accepted() {  # the families whose rules are not loaded as they were
  for family in ipv4:iptables ipv6:ip6tables; do
    rules=$root/accept.${family%:*}
    [ -e "$rules" ] || continue
    [ "$(list_accepted "${family#*:}" "$rules" 2>/dev/null)" = "$(cat "$run/accept.${family%:*}")" ] ||
      echo "${family%:*}"
  done 2>/dev/null
}
