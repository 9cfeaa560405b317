# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What a node's firmware asks for, rendered from one model for iPXE, GRUB and PXELINUX.

Private to this collection. Use it so::

    nodes = parse_nodes([{"name": "node1", "macs": ["00:00:5e:00:53:01"], "boot": {"kernel": "http://...", ...}}])
    text = render(nodes[0], "ipxe")                         # raises Faults, never renders a doubtful value
    name = boot_filename("00:00:5e:00:53:01", "ipxe")       # 00-00-5e-00-53-01.ipxe, relative to the format's root
"""

from __future__ import annotations

from .model import FORMATS, Boot, Fault, Faults, Format, Node, normal_mac, parse_nodes
from .render import boot_filename, default_filename, render, render_default

__all__ = [
    "FORMATS",
    "Boot",
    "Fault",
    "Faults",
    "Format",
    "Node",
    "boot_filename",
    "default_filename",
    "normal_mac",
    "parse_nodes",
    "render",
    "render_default",
]
