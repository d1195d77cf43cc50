#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# A .network file for everything, and a rule set that is loaded at boot, as many hosts have.
set -e
printf '[Match]\nName=*\n[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n' \
  >/etc/systemd/network/90-everything.network
cat >/etc/nftables.conf <<'END'
#!/usr/sbin/nft -f
flush ruleset
table inet theirs {
  chain input { type filter hook input priority 0; policy accept; }
}
END
systemctl -q enable nftables
