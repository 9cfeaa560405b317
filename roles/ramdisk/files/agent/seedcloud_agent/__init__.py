# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The program that a node runs from the ramdisk: it asks the seed what to become, and becomes it."""
