# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh disable=SC2154  # podnet-node, which reads this, sets the variables
# The nftables of podnet: load, compare, take back. Part of podnet-node, which is one file on a node
# (`node_program` in workspace.py joins them).

# A table that is there and cannot be listed is not one that is not there: hence one question for
# the names of all, in $tables, and `has_table FAMILY` of the answer.
list_tables() { tables=$(nft list tables); }
has_table() { case "$tables
" in *"table $1 podnet
"*) ;; *) return 1 ;; esac; }
# Those of $tables as they are loaded, without what they learn themselves: who the pods are.
list_nft() {
  if has_table inet; then nft -s list table inet podnet || return; fi
  if has_table bridge; then nft -s -t list table bridge podnet || return; fi
}
drop_nft() {  # FAMILY, of $tables
  if has_table "$1"; then nft delete table "$1" podnet; fi
}
# FILE: load it and record what the tables look like then. nft takes all of a file or nothing of it.
load_nft() {
  nft -f "$1" || return
  if grep -q '^table bridge podnet' "$1"; then
    if has_table bridge; then forget_ports || return; fi
    tables='table inet podnet
table bridge podnet'
  else drop_nft bridge || return; tables='table inet podnet'; fi
  record_nft "$1"
}
# What the bridge table learned of ports that are gone. An element begins with the port's name.
forget_ports() {
  listed=$(nft list table bridge podnet) || return
  case $listed in *elements*) ;; *) return 0 ;; esac
  deletions=$(printf '%s\n' "$listed" | awk '
    $1 == "set" { set = $2 }
    sub(/.*elements = \{/, "") { inside = 1 }
    inside {
      last = sub(/\}.*/, "")
      n = split($0, element, ",")
      for (i = 1; i <= n; i++) if (split(element[i], word, "\"") > 1) {
        file = "/proc/sys/net/ipv4/conf/" word[2] "/forwarding"
        if ((getline value <file) < 0) print "delete element bridge podnet " set " {" element[i] "}"
        close(file)
      }
      if (last) inside = 0
    }')
  [ -z "$deletions" ] || printf '%s\n' "$deletions" | nft -f -
}
record_nft() {  # [FILE]: that was loaded, with $tables; without one $loaded is its digest
  text=$(list_nft) && folder "$run" && sums=$(printf '%s\n' "$text" | sha256sum - "$@") || return
  if [ $# -gt 0 ]; then
    loaded=${sums##*
}
    loaded=${loaded%% *}
  fi
  printf '%s %s\n' "$loaded" "${sums%% *}" >"$run/nft"
}
# Whether the tables are as they were when they were loaded (2: that cannot be told); $loaded is the
# digest of the file.
recorded_nft() {
  read -r loaded table 2>/dev/null <"$run/nft" || return 1
  { list_tables && text=$(list_nft); } 2>/dev/null || return 2
  [ "$(printf '%s\n' "$text" | sha256sum)" = "$table  -" ]
}

back_up_nft() {  # NAME, of $tables; once, as in back_up
  if [ -e "$txn/backup/$1.whole" ]; then return 0; fi
  folder "$txn/backup" || return
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
  if [ ! -e "$old.bridge" ]; then list_tables && drop_nft bridge || return; fi
  if [ -e "$old.record" ]; then cp "$old.record" "$run/nft" || return; else rm -f "$run/nft"; fi
  rm -f "$old.whole"
}
# add|delete NAME ITEMS: elements of a set of the table that is loaded, or networks of a chain that has
# a rule for each, which is found again by its handle.
set_element() {
  recorded_nft; case $? in 0) ;; 1) loaded= ;; *) return 1 ;; esac
  # What an undo would delete may be gone already.
  if [ "$1" = delete ]; then list_tables || return; has_table inet || return 0; fi
  # Thousands of addresses are longer than an argument may be.
  rules=$({ printf '%s\n' "$3"; case $2 in leaving*) nft -a list chain inet podnet "$2" ;; esac; } | awk -v word="$1" -v name="$2" '
    NR == 1 && name !~ /^leaving/ {
      print "add element inet podnet " name " { " $0 " }"
      if (word == "delete") print "delete element inet podnet " name " { " $0 " }"
      exit
    }
    NR == 1 { n = split($0, item, ","); for (i = 1; i <= n; i++) wanted[item[i]] = 1 }
    NR > 1 && $2 == "daddr" && $4 == "return" && ($3 in wanted) { handle[$3] = $NF }
    END {
      family = name == "leaving4" ? "ip" : "ip6"
      for (i = 1; i <= n; i++)
        if (word == "add") print "insert rule inet podnet " name " " family " daddr " item[i] " return"
        else if (item[i] in handle) print "delete rule inet podnet " name " handle " handle[item[i]]
    }') && printf '%s\n' "$rules" | nft -f - && if [ -n "$loaded" ]; then list_tables && record_nft; fi
}
