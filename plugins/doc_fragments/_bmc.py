# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What the bmc_* modules have in common."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
notes:
  - Run it once for all nodes, on a host that reaches the BMCs (the seed). The nodes are served side by side,
    and a node that fails does not make the module fail. Read RV(nodes) and RV(failed_nodes).
  - The module itself fails only for faulty arguments, all of which it lists, or when a library is missing.
  - >-
    The codes in RV(nodes) are:
    V(bmc_unreachable), nothing answered at the BMC's address and port;
    V(bmc_auth), the BMC refused the credentials;
    V(bmc_privilege), the account may not do what was asked;
    V(bmc_no_session), the BMC had no free session until the deadline;
    V(bmc_cipher), no common cipher suite, or only IPMI 1.5 and that is not allowed;
    V(bmc_timeout), the BMC or the node did not get there before the deadline;
    V(bmc_refused), the BMC answered that it does not do this;
    V(bmc_mismatch), what was read back is not what was set;
    V(bmc_protocol), the BMC's answer makes no sense;
    V(bmc_internal), a fault in this collection, reported for the node that met it.
  - Cipher suite 17 is proposed first, then 3, never 0. A BMC that does not answer a proposal is taken to refuse it.
  - >-
    Ansible masks the passwords wherever they occur in a result. A password that is also a common word
    (V(on), say) masks that word, too.
requirements:
  - pyghmi >= 1.5.34 (Debian's C(python3-pyghmi))
options:
  nodes:
    description: The nodes and how to reach their BMCs.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The node's name. Results are listed under it, so it occurs once.
        type: str
        required: true
      driver:
        description: The protocol that the BMC speaks.
        type: str
        choices: [ipmi]
        default: ipmi
      address:
        description: The BMC's address or host name.
        type: str
        required: true
      port:
        description: The BMC's UDP port.
        type: int
        default: 623
      username:
        description: The account on the BMC. It is used as administrator, or as operator where that is refused.
        type: str
        required: true
      password:
        description: The account's password. At most 20 bytes, 16 with O(nodes[].allow_ipmi15).
        type: str
        required: true
      allow_ipmi15:
        description:
          - Whether to speak IPMI 1.5 with a BMC that knows nothing newer.
          - IPMI 1.5 authenticates by MD5 and encrypts nothing.
        type: bool
        default: false
  timeout:
    description: Seconds within which each node is done, retries included. A BMC from which there is no sign of life
      is given up after 10 seconds.
    type: float
    default: 60
  workers:
    description: How many nodes are served at a time, each over one session with its BMC.
    type: int
    default: 100
attributes:
  platform:
    description: Target operating systems of this module.
    support: full
    platforms: posix
  action_group:
    description: Use C(group/seedcloud.openstack.bmc) in C(module_defaults) to set defaults for the module.
    support: full
    membership:
      - seedcloud.openstack.bmc
author:
  - The seedcloud.openstack authors (@seedcloud)
"""
