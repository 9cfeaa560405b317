#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors

"""Documentation of the action plugin service_plan, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_plan
short_description: Compile the OpenStack services' manifests into a host's plan
version_added: 0.1.0
author:
  - The seedcloud.openstack authors (@seedcloud)
description:
  - Reads the manifests of this collection's service roles, renders them with the host's variables, and compiles them
    into one plan for M(seedcloud.openstack.service_apply). Nothing is changed, on the controller or on the host.
  - Every fault of the configuration is reported at once.
  - The plan holds markers where secrets go, so it can be shown, compared and kept; the values are returned beside it.
notes:
  - Use C(no_log) on the task, because RV(secrets) are returned.
options:
  services:
    description: The service roles to compile.
    type: list
    elements: str
    required: true
  node:
    description: The node to compile for.
    type: str
    default: the inventory's name of the host
  records:
    description: All node records, as P(seedcloud.openstack.node_records#filter) makes them.
    type: list
    elements: dict
    required: true
  networks:
    description: The resolved networks, as P(seedcloud.openstack.network_map#filter) makes them.
    type: dict
    default: {}
  region:
    description: The region of the cloud.
    type: str
    default: RegionOne
  domain:
    description: The DNS domain of the cloud.
    type: str
    default: seedcloud.internal
  internal_address:
    description: Where services reach the APIs. Default is the first controller's address on the internal network.
    type: str
  public_address:
    description: Where people reach the APIs. Default is the first controller's address on the public network.
    type: str
  secrets:
    description: The secrets that the inventory does not give, as M(seedcloud.openstack.seed_secrets) returns them.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Compiles all the same.
    support: full
  diff_mode:
    description: There is nothing to compare with.
    support: none
  idempotent:
    description: The same inventory gives the same plan.
    support: full
  action:
    description: Runs on the controller and needs no connection to the host.
    support: full
"""

EXAMPLES = r"""
- name: Compile Keystone for this host
  seedcloud.openstack.service_plan:
    services: [mariadb, memcached, loadbalancer, keystone]
    records:
      - name: node1
        fqdn: node1.cloud.example
        roles: [controller]
        addresses: {internal: 198.51.100.11, public: 203.0.113.11}
    secrets: "{{ seed_secrets_made.secrets }}"
  register: compiled
  no_log: true
"""

RETURN = r"""
plan:
  description: The plan of the host, without any secret in it.
  returned: success
  type: dict
  sample:
    schema: 1
    node: node1
    services: [memcached]
    packages: [memcached]
    secrets: []
    graph:
      - {id: "memcached:files", kind: files, phase: services, after: [], directories: [], files: []}
secrets:
  description: The values of the secrets that this plan uses, and of no others.
  returned: success
  type: dict
  sample: {}
auth_url:
  description: Keystone's public address.
  returned: success
  type: str
  sample: http://203.0.113.11:5000/v3
"""
