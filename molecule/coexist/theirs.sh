#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# What of a node's daemons is the host's own: their files, and the rules that are not podnet's.
set -eu
{
  find /etc/systemd/network /etc/systemd/networkd.conf.d /etc/nftables.conf /etc/NetworkManager \
    -type f ! -name '*-podnet.*' -exec sha256sum {} + 2>/dev/null | sort
  nft list tables | grep -v podnet | sort
} >"$1"
