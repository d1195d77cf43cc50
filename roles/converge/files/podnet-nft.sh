# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh disable=SC2154  # podnet-node, which reads this, sets the variables
# The nftables of podnet: load, compare, take back. Part of podnet-node, which is one file on a node
# (`node_program` in workspace.py joins them).

# The tables as they are loaded, without what they learn themselves: who the pods are. A table that
# is there and cannot be listed is not one that is not there.
has_table() { case "$tables
" in *"table $1 podnet
"*) ;; *) return 1 ;; esac; }  # FAMILY, of $tables
list_nft() {
  tables=$(nft list tables) || return
  if has_table inet; then nft -s list table inet podnet || return; fi
  if has_table bridge; then nft -s -t list table bridge podnet || return; fi
}
drop_nft() {  # FAMILY
  tables=$(nft list tables) || return
  if has_table "$1"; then nft delete table "$1" podnet; fi
}
load_nft() {  # FILE: load it and record what the tables look like then
  nft -c -f "$1" && nft -f "$1" || return
  grep -q '^table bridge podnet' "$1" || drop_nft bridge || return
  forget_ports || return
  record_nft "$(sha256sum <"$1" | cut -d' ' -f1)"
}
forget_ports() {  # what the bridge table learned of ports that are gone
  tables=$(nft list tables) || return
  has_table bridge || return 0
  for set in ports macs ports4 owners4 ports6 portsl owners6; do
    elements=$(nft list set bridge podnet $set) || return
    # Elements, one on a line, the name of the port first.
    gone=$(printf '%s\n' "$elements" | tr '\n\t' '  ' | sed -n 's/.*elements = {\([^}]*\)}.*/\1/p' |
      tr , '\n' | while read -r port rest || [ -n "$port" ]; do
        [ -n "$port" ] || continue
        name=${port#\"}; [ -e "/proc/sys/net/ipv4/conf/${name%\"}" ] || printf '%s,' "$port $rest"
      done)
    [ -z "$gone" ] || nft delete element bridge podnet $set "{ $gone }" || return
  done
}
record_nft() {  # DIGEST of the file
  text=$(list_nft) && mkdir -p "$run" && table=$(printf '%s\n' "$text" | sha256sum) &&
    printf '%s %s\n' "$1" "${table%% *}" >"$run/nft"
}
# Whether the tables are as they were when they were loaded (2: that cannot be told); $loaded is the
# digest of the file.
recorded_nft() {
  read -r loaded table 2>/dev/null <"$run/nft" || return 1
  text=$(list_nft 2>/dev/null) || return 2
  [ "$(printf '%s\n' "$text" | sha256sum)" = "$table  -" ]
}

back_up_nft() {  # NAME
  mkdir -p "$txn/backup" && tables=$(nft list tables) || return
  # Sets of the inet table have elements that the file gave them; others are kept by the kernel.
  if has_table inet; then nft -s list table inet podnet >"$txn/backup/$1.inet" || return; fi
  if has_table bridge; then nft -s -t list table bridge podnet >"$txn/backup/$1.bridge" || return; fi
  if [ -e "$run/nft" ]; then cp "$run/nft" "$txn/backup/$1.record" || return; fi
  : >"$txn/backup/$1.whole"
}
# NAME: without a backup the line was not reached. Done once: a rollback that is tried again must not
# bring back what an earlier line's undo has gone behind meanwhile.
put_back_nft() {
  old=$txn/backup/$1
  [ -e "$old.whole" ] || return 0
  { echo 'add table inet podnet; delete table inet podnet'; cat "$old.inet"
    if [ -e "$old.bridge" ]; then echo 'add table bridge podnet; flush table bridge podnet'; fi
    cat "$old.bridge"; } 2>/dev/null | nft -f - || return
  [ -e "$old.bridge" ] || drop_nft bridge || return
  if [ -e "$old.record" ]; then cp "$old.record" "$run/nft" || return; else rm -f "$run/nft"; fi
  rm -f "$old.whole"
}
set_element() {  # add|delete SET ELEMENTS: of the table that is loaded
  recorded_nft; case $? in 0) ;; 1) loaded= ;; *) return 1 ;; esac
  if [ "$1" = delete ]; then
    tables=$(nft list tables) || return
    has_table inet || return 0
    # What an undo would delete may be gone already.
    set -- "$2" "$3" "add element inet podnet $2 { $3 }; delete element inet podnet $2 { $3 }"
  else set -- "$2" "$3" "add element inet podnet $2 { $3 }"; fi
  nft "$3" && if [ -n "$loaded" ]; then record_nft "$loaded"; fi
}
