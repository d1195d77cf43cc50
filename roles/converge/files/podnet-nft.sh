# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
# The nftables of podnet: load, compare, take back. Part of podnet-node, which is one file on a node
# (`node_program` in workspace.py joins them).

# The tables as they are loaded, without what they learn themselves: who the pods are.
list_nft() { nft -s list table inet podnet; nft -s -t list table bridge podnet; } 2>/dev/null
drop_nft() {  # FAMILY
  ! nft list table "$1" podnet >/dev/null 2>&1 || nft delete table "$1" podnet
}
load_nft() {  # FILE: load it and record what the tables look like then
  nft -c -f "$1" && nft -f "$1" || return
  grep -q '^table bridge podnet' "$1" || drop_nft bridge || return
  forget_ports
  record_nft "$(sha256sum <"$1" | cut -d' ' -f1)"
}
learned() {  # SET: elements of the bridge table, one on a line, the name of the port first
  nft list set bridge podnet "$1" | tr '\n\t' '  ' | sed -n 's/.*elements = {\([^}]*\)}.*/\1/p' | tr , '\n'; echo
}
forget_ports() {  # what the bridge table learned of ports that are gone
  for set in ports macs ports4 owners4 ports6 portsl owners6; do
    gone=$(learned $set | while read -r port rest; do
      [ -n "$port" ] || continue
      name=${port#\"}; [ -e "/proc/sys/net/ipv4/conf/${name%\"}" ] || printf '%s,' "$port $rest"
    done)
    [ -z "$gone" ] || nft delete element bridge podnet $set "{ $gone }"
  done
} 2>/dev/null
record_nft() {  # DIGEST of the file
  table=$(list_nft | sha256sum) && mkdir -p "$run" && printf '%s %s\n' "$1" "${table%% *}" >"$run/nft"
}
# Whether the tables are as they were when they were loaded; $loaded is the digest of the file.
recorded_nft() {
  read -r loaded table 2>/dev/null <"$run/nft" && [ "$(list_nft | sha256sum)" = "$table  -" ]
}

back_up_nft() {  # NAME: a table that cannot be listed, or kept, is not one that is not there
  mkdir -p "$txn/backup" && tables=$(nft list tables) || return
  for family in inet bridge; do
    case "$tables
" in *"table $family podnet
"*) nft -s -t list table $family podnet >"$txn/backup/$1.$family" || return ;; esac
  done
  # Sets of the inet table have elements that the file gave them; others are kept by the kernel.
  if [ -e "$txn/backup/$1.inet" ]; then
    nft -s list table inet podnet >"$txn/backup/$1.inet" || return
  fi
  if [ -e "$run/nft" ]; then cp "$run/nft" "$txn/backup/$1.record" || return; fi
  : >"$txn/backup/$1.whole"
}
put_back_nft() {  # NAME: without a backup the line was not reached
  old=$txn/backup/$1
  [ -e "$old.whole" ] || return 0
  { echo 'add table inet podnet; delete table inet podnet'; cat "$old.inet"
    if [ -e "$old.bridge" ]; then echo 'add table bridge podnet; flush table bridge podnet'; fi
    cat "$old.bridge"; } 2>/dev/null | nft -f - || return
  [ -e "$old.bridge" ] || drop_nft bridge || return
  if [ -e "$old.record" ]; then cp "$old.record" "$run/nft"; else rm -f "$run/nft"; fi
}
set_element() {  # add|delete SET ELEMENTS: of the table that is loaded
  recorded_nft || loaded=
  # What an undo would delete may be gone already.
  if [ "$1" = delete ] && ! nft get element inet podnet "$2" "{ $3 }" >/dev/null 2>&1; then return 0; fi
  nft "$1" element inet podnet "$2" "{ $3 }" && if [ -n "$loaded" ]; then record_nft "$loaded"; fi
}
