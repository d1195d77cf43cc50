# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh disable=SC2154  # podnet-node, which reads this, sets the variables
# What the definitions say and the kernel lacks, and putting it back: part of podnet-node, which
# is one file on a node (`node_program` in workspace.py joins them).

# The definitions' lines that the kernel lacks: line <TAB> what makes it so, in the order to run.
# Kernel objects are written as the definitions write them, and then compared as text.
missing() {
  cd "$root/current/." || die "cannot enter $root/current"
  {
    [ ! -e 05-podnet-bridge.netdev ] || echo @native
    echo '@link bridge'; ip -o -d link show type bridge
    echo '@link vxlan'; ip -o -d link show type vxlan
    echo @addr; ip -o addr show type bridge; ip -o addr show type vxlan
    echo @neigh; ip -N neigh show nud permanent
    echo @fdb; bridge fdb show
    echo '@route /32'; ip -N -4 route show proto 112
    echo '@route /128'; ip -N -6 route show proto 112
    # An interface of the underlay may be gone for good; its settings are no reason to fail. They
    # come first, so that forwarding does not cost the host a route that it has learned.
    echo '@sysctl held'; cat "$root/underlay.sysctl"
    echo '@want load'; nft_intact || echo podnet.nft
    echo '@want ip'; cat bridge.batch vxlan.batch
    echo '@want port'; loose_ports
    echo @sysctl; cat sysctl.conf
    echo '@want bridge'; cat fdb.batch
    echo '@want accept'; not_accepted
    echo '@want ip'; cat routes.batch
    echo '@want bgp'; bgp_lacks
  } 2>/dev/null | awk '
    function word(key, i) { for (i = 1; i < NF; i++) if ($i == key) return $(i + 1); return "" }
    # Somebody else has put something in the place of our own: it is named and never touched.
    function lacks(tool, line, command, dev) {
      print tool " " line "\t" ((dev in there) && !(dev in own) ? "-" : tool) " " command
    }
    { gsub(/\\/, " ") }
    /^@native/ { native = 1 }
    /^@/ { kind = $1; arg = $2; next }
    /^#/ || !NF { next }
    kind == "@link" {
      dev = $2; sub(/[:@].*/, "", dev); there[dev] = 1; what = "bridge"
      if (arg == "vxlan")
        what = "vxlan id " word("id") " local " word("local") " dstport " word("dstport") \
          (/ nolearning / ? " nolearning" : "")
      have["link add name " dev " address " word("link/ether") " type " what]
      if (index($0 " ", " altname podnet-" dev " ")) own[dev] = 1
      if (dev in own) have["link property add dev " dev " altname podnet-" dev]
      have["link set dev " dev " mtu " word("mtu") " addrgenmode none"]
      if ($3 ~ /[<,]UP[,>]/) have["link set dev " dev " up"]
    }
    kind == "@addr" { have["address replace " $4 " dev " $2 ($3 == "inet6" ? " nodad" : "")] }
    kind == "@neigh" {
      have["neighbour replace " $1 " lladdr " word("lladdr") " dev " word("dev") \
        " nud permanent proto " word("proto")]
    }
    kind == "@fdb" { have["fdb replace " $1 " dev " word("dev") " dst " word("dst") " self permanent"] }
    kind == "@route" {
      dst = $1 (index($1, "/") ? "" : arg); routed[dst] = 1
      via = word("via"); end = " proto 112 metric " word("metric")
      if (word("mtu") != "") end = end " mtu " word("mtu")
      start = "route replace " dst (via == "" ? "" : " via " via)
      if (word("src") != "") end = " src " word("src") end
      onlink = / onlink/ ? " onlink" : ""
      have[start " dev " word("dev") onlink end]
      if (!onlink) have[start end]
    }
    kind == "@sysctl" {
      file = "/proc/sys/" $1; value = ""; found = (getline value <file); close(file)
      split($1, step, "/")
      if (value != $3 && (found > 0 || arg != "held"))
        lacks("sysctl", $1 "=" $3, $1 "=" $3, arg == "held" ? "" : step[4])
    }
    kind == "@want" {
      command = line = $0; new = /^link add/; dev = word(new ? "name" : "dev")
      if (new) sub(/ mtu [0-9]+/, "", line)
      # What networkd made by our files has our own MAC, and no altname.
      if (new && native && line in have) own[dev] = 1
      if (line in have) next
      if (new && dev in there) {  # altered; all but the VNI and the port can be put right
        command = "link set dev " dev " address " word("address")
        if (word("local") != "")
          command = command " type vxlan id " word("id") " local " word("local") " nolearning"
      }
      # A route of somebody else to the same place, with our metric, is not replaced.
      if (!($3 in routed)) sub(/^route replace/, "route add", command)
      lacks(arg, line, command, dev)
    }'
}
nft_intact() { recorded_nft && [ "$(sha256sum <podnet.nft)" = "$loaded  -" ]; }

# Put back what is missing; true when nothing is then. What was, and what still is, are left in
# $run/mend/before and $run/mend/now. Some things can be made only after others, hence the passes.
mend() {
  work=$run/mend
  { mkdir -p "$work" && cd "$work"; } || die "cannot write to $run"
  { (missing) >before && cp before now; } || die "cannot compare"
  : >errors
  for pass in 1 2 3; do
    [ -s now ] || return 0
    cut -f 2- now >todo
    run_lines todo -force >errors 2>&1
    (missing) >next
    # What went only while this was at work is healed as well.
    went=$(grep -vxFf before next) && printf '%s\n' "$went" >>before
    cmp -s now next && [ "$pass" != 1 ] && break
    mv -f next now
  done
  [ -s now ] || return 0
  { sed 's/^/podnet-node: /' errors; cut -f 1 now | sed 's/^/podnet-node: still missing: /'; } |
    head -n 40 >&2
  return 1
}

heal() {
  if [ -d "$txn" ]; then echo "podnet-node: a change is at work; nothing is healed"; return 0; fi
  [ -d "$root/current" ] || return 0
  { list_tables && has_table bridge && forget_ports; } 2>/dev/null || true
  ok=0; mend || ok=1
  cut -f 1 now >left
  cut -f 1 before | grep -vxFf left >healed || return $ok
  total=$(sed -n '1s/[^0-9]//gp' "$run/healed" 2>/dev/null)
  { echo "$((${total:-0} + $(wc -l <healed))) healed"
    { sed 1d "$run/healed" 2>/dev/null; sed "s/^/$(date -u +%Y-%m-%dT%H:%M:%SZ) /" healed; } | tail -n 20
  } >healed.new && mv -f healed.new "$run/healed"
  sed 's/^/put back: /' healed | logger -t podnet 2>/dev/null
  sed 's/^/podnet-node: put back: /' healed
  return $ok
}
