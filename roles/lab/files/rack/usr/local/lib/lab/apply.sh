#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# Bring what runs in the rack in line with its files, and wait until every BMC has its machine.
set -eu
stamp=/run/lab.applied
now=$(find /etc/lab /usr/local/lib/lab /etc/systemd/network /etc/systemd/system/lab-* /etc/sysctl.d/lab.conf \
  /etc/libvirt/qemu.conf -type f -not -name '*.pyc' -exec sha256sum {} + | sort)
if [ "$now" = "$(cat "$stamp" 2>/dev/null)" ]; then
  echo unchanged
  exit
fi
systemctl daemon-reload
networkctl reload
sysctl --quiet --load=/etc/sysctl.d/lab.conf
for unit in $(systemctl list-units --plain --no-legend --all 'lab-bmc@*' | awk '{print $1}'); do
  node=${unit#lab-bmc@} node=${node%.service}
  [ -e "/etc/lab/nodes/$node.json" ] || systemctl disable --quiet --now "$unit"
done
systemctl enable --quiet lab-mirror
systemctl restart lab-mirror
for file in /etc/lab/nodes/*.json; do
  node=$(basename "$file" .json)
  systemctl enable --quiet "lab-bmc@$node"
  systemctl restart "lab-bmc@$node"
done
for file in /etc/lab/nodes/*.json; do
  node=$(basename "$file" .json) tries=0
  until systemctl is-active --quiet "lab-bmc@$node" && virsh --quiet --connect qemu:///system dominfo "$node" >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -gt 120 ]; then
      journalctl --no-pager --lines=20 --unit="lab-bmc@$node" >&2
      exit 1
    fi
    sleep 0.5
  done
done
echo "$now" >"$stamp"
echo changed
