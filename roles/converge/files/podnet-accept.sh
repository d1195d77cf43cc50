# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh disable=SC2154  # podnet-node, which reads this, sets the variables
# Telling other daemons of the host: part of podnet-node, which is one file on a node
# (`node_program` in workspace.py joins them).

reload_daemon() {  # UNIT: one that does not run reads its files when it starts
  systemctl is-active --quiet "$1" 2>/dev/null || return 0
  case $1 in
    systemd-networkd) reload_networkd ;;
    firewalld) firewall-cmd --quiet --reload ;;  # systemctl's does not wait for the end
    *) systemctl reload "$1" ;;
  esac
}

# From an interface that its files do not name any more networkd takes, on a reload, all that they
# said; one that has just started does not know what it made before (ADR 0005).
reload_networkd() {
  for link in /run/systemd/netif/links/*; do
    file=$(sed -n 's/^NETWORK_FILE=\(.*\/05-podnet-.*\)/\1/p' "$link" 2>/dev/null)
    if [ -n "$file" ] && [ ! -e "$file" ] && grep -qsx "${link##*/}" /sys/class/net/*/ifindex; then
      systemctl restart systemd-networkd; return
    fi
  done
  networkctl reload
}
await_networkd() {  # until it has made what its files say, where it runs; 10 s at most
  systemctl is-active --quiet systemd-networkd 2>/dev/null || return 0
  for file in "$root"/current/05-podnet-*.network; do
    tries=100
    until [ $tries = 0 ] || [ ! -e "$file" ] ||
        grep -sl "^NETWORK_FILE=.*/${file##*/}\$" /run/systemd/netif/links/* | xargs -r cat |
        grep -q '^ADMIN_STATE=configured$'; do
      sleep 0.1; tries=$((tries - 1))
    done
  done
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
