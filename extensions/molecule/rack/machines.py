# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Two machines as the unit tests play them, on the network of a seed that runs in a container, until that ends.

machines.py PID FOLDER: the container's init, in whose network this runs; where the BMCs keep their state.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from ansible_collections.seedcloud.openstack.tests.unit.plugins.module_utils import ipmi_peer
from ansible_collections.seedcloud.openstack.tests.unit.plugins.virtual_nodes import VirtualNode


def main() -> None:
    init, folder = Path("/proc", sys.argv[1]), Path(sys.argv[2])
    bmcs = [ipmi_peer.start_sim(folder / f"node{n}", f"198.51.100.{n}", 623) for n in (1, 2)]
    ipmi_peer.await_peers(*bmcs)
    root = init / "root/var/lib/seedcloud"
    nodes = [VirtualNode(f"node{n}", f"192.0.2.1{n}", bmc, root) for n, bmc in enumerate(bmcs, 1)]
    (folder / "ready").touch()
    while init.exists() and not (folder / "stop").exists():
        time.sleep(0.2)
    for node in nodes:
        node.stop()
    ipmi_peer.stop_peers(*bmcs)


if __name__ == "__main__":
    main()
