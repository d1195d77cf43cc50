# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh disable=SC2154  # podnet-node, which reads this, sets the variables
# The FRR of podnet, in a path space of its own beside whatever the host may have: part of
# podnet-node, which is one file on a node (`node_program` in workspace.py joins them).

frr=/etc/frr/podnet
frr_bin=/usr/lib/frr
frr_run=/run/frr/podnet

bgp_runs() {
  read -r pid 2>/dev/null <$frr_run/watchfrr.pid || return 1
  case $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) in *watchfrr*podnet*) ;; *) return 1 ;; esac
}

# The transaction's configuration becomes FRR's: checked first, and changed line by line, so that
# sessions which are not concerned stay.
bgp_apply() {
  new=$frr/frr.conf.podnet-new
  mkdir -p $frr && chgrp frr $frr && rm -f $new && (umask 077; with_password >$new) && chgrp frr $new &&
    chmod 640 $new || return
  errors=$(vtysh -N podnet -C -f $new 2>&1) ||
    { printf '%s\n' "$errors" | grep -v ' password '; rm -f $new; return 1; }
  back_up $frr/frr.conf && source_of_routes && mv -f $new $frr/frr.conf && rm -f $frr/frr.conf.sav && bgp_changed
}
with_password() {
  awk -v file="$txn/files/password" 'BEGIN { getline secret <file; mark = "@podnet_bgp_password@" }
    (at = index($0, mark)) { $0 = substr($0, 1, at - 1) secret substr($0, at + length(mark)) }
    { print }' "$txn/generation/frr.conf"
}
bgp_changed() {
  bgp_runs || { bgp_start; return; }
  # Its log would show the lines with the password. With -N it would write the file anew, in the words
  # of FRR, and keep the old one beside it.
  # It writes the configuration once more, into a folder that must be nobody else's.
  $frr_bin/frr-reload.py --confdir $frr --vty_socket $frr_run --rundir $frr_run --log-level critical \
    --reload $frr/frr.conf >"$run/frr-reload" 2>&1 ||
    { grep -v ' password ' "$run/frr-reload" | tail -n 5; return 1; }
  former=$sources; source_of_routes
  # Routes of a family that comes or goes have no other source before or after it.
  if lacks "$sources" "$former" && lacks "$former" "$sources"; then bgp_anew; fi
}
lacks() {  # WORDS OTHERS: whether one of the others is not among the words
  for other in $2; do
    case " $1 " in *" $other "*) ;; *) return 0 ;; esac
  done
  return 1
}
# Addresses of the node that its routes have as their source, in $sources.
source_of_routes() { sources=$(sed -n 's/^ set src //p' $frr/frr.conf 2>/dev/null | sort -u | tr '\n' ' '); }
# zebra 8.4 gives routes another source some seconds after it was told, and those of IPv6 never; by then
# the old address is gone, and routes with it. One that is killed leaves all of them in the kernel, and
# its successor sets each anew.
bgp_anew() {
  read -r pid 2>/dev/null <$frr_run/zebra.pid || return 0
  case $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) in *frr/zebra*podnet*) kill -9 "$pid" ;; esac
  for source in $former; do
    lacks "$sources" "$source" || continue
    tries=0
    while bgp_words | grep -qwF "src $source"; do
      tries=$((tries + 1))
      [ $tries -lt 60 ] || { echo "FRR leaves $source as the source of its routes"; return 1; }
      sleep 0.5
    done
  done
}
bgp_words() { ip -4 route show proto bgp; ip -6 route show proto bgp; }
bgp_start() {
  if [ -d /run/systemd/system ]; then systemctl daemon-reload && systemctl start podnet-bgp.service || return
  else $frr_bin/frrinit.sh start podnet </dev/null >"$run/frr-start" 2>&1 || { cat "$run/frr-start"; return 1; }
  fi
  # The daemons get their configuration when all of them are there.
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    vtysh -N podnet -c 'show running-config bgpd' 2>/dev/null | grep -q '^router bgp' && return
    sleep 0.5
  done
  echo "FRR does not take its configuration within 10 seconds"
  return 1
}

# Back to the configuration before this transaction, which may be none.
bgp_back() {
  backup_name $frr/frr.conf; rm -f $frr/frr.conf.podnet-new
  if [ -e "$b" ]; then
    source_of_routes
    cp -p "$b" $frr/frr.conf.podnet-new && mv -f $frr/frr.conf.podnet-new $frr/frr.conf && bgp_changed
  elif [ -e "$b.absent" ]; then bgp_end; fi
}
bgp_stop() { back_up $frr/frr.conf && bgp_end; }
bgp_end() {
  conf=$frr/frr.conf
  [ -e $conf ] || return 0
  if bgp_runs; then
    # Peers keep the routes of one that is merely gone, so they are told.
    awk '/^router bgp/ { print "configure terminal"; print } /^ address-family/ { print }
      /^  network/ { print "no " $0 } /^ exit-address-family/ { print }' $conf |
      vtysh -N podnet >/dev/null 2>&1
    sleep 1
  fi
  if [ -d /run/systemd/system ]; then systemctl stop podnet-bgp.service; fi
  for daemon in watchfrr bgpd bfdd zebra staticd; do
    read -r pid 2>/dev/null <$frr_run/$daemon.pid || continue
    case $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) in *frr/$daemon*podnet*) kill -9 "$pid" ;; esac
    rm -f $frr_run/$daemon.pid
  done
  sed -n 's/^\(ip\|ipv6\) prefix-list podnet-pods-[^ ]* .*permit \([^ ]*\) .*/\1 \2/p' $conf |
    while read -r family cidr; do
      case $family in ip) family=-4 ;; *) family=-6 ;; esac
      ip $family route flush proto bgp root "$cidr"
    done
  rm -f $conf
  # What zebra's routes shared; the flush of iproute2 6.1 takes no protocol. Where the host has an FRR
  # of its own by now, nobody can tell whose they are, and with one all routes by it would go.
  read -r pid 2>/dev/null </run/frr/zebra.pid && [ -d "/proc/$pid" ] && return
  for id in $(ip nexthop | sed -n 's/^id \([0-9]*\) .*proto zebra.*/\1/p'); do
    ip nexthop del id "$id" 2>/dev/null
  done
  return 0
}

# Until every prefix of the plan is the best path (learned), or in the kernel (installed). One whose
# route podnet is about to withdraw must come; another one's node may be away.
bgp_learned() { await best_paths "$txn/files/learned"; }
bgp_installed() { await bgp_routes "$txn/files/relied"; }
best_paths() {  # of several paths to a prefix only the first line names it
  vtysh -N podnet -c 'show bgp ipv4 unicast' -c 'show bgp ipv6 unicast' 2>/dev/null |
    awk 'match($0, /[0-9a-f:.]+\/[0-9]+/) { prefix = substr($0, RSTART, RLENGTH) }
      /^[^ ]?>/ { print prefix }'
}
bgp_routes() { bgp_words | sed 's/ .*//'; }
await() {  # COMMAND FILE
  uptime; begun=$v
  while :; do
    "$1" >"$work/there"
    grep -vxFf "$work/there" "$2" >"$work/lacking" || return 0
    uptime; waited=$((v - begun))
    relied=$(grep -xFf "$txn/files/relied" "$work/lacking" | awk 'NR < 6 { print } END { if (NR > 5) print "and " (NR - 5) " more" }' | tr '\n' ' ')
    if [ -z "$relied" ] && [ $waited -ge 20 ]; then return 0; fi
    [ $waited -lt 60 ] || break
    sleep 0.5
  done
  echo "not learned within 60 seconds: $relied(vtysh -N podnet -c 'show bgp summary' tells more)"
  return 1
}

# What a heal, or a boot without systemd, has to start.
bgp_lacks() {
  [ -e $frr/frr.conf ] || return 0
  if [ -d /run/systemd/system ] && [ "$verb" != heal ]; then return 0; fi
  bgp_runs || echo start
}
