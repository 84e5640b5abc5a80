# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measuring the simulated Azure against exchanges recorded from the real one."""
