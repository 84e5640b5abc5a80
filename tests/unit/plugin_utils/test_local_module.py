# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a module that is interrupted gets to do; the rest is in tests/integration/test_local_module.py."""

from __future__ import annotations

import os
import signal

import pytest
from ansible_collections.audioprothese.platform.plugins.plugin_utils.local_module import _interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_interrupted_cleans_up(number: signal.Signals) -> None:
    before, cleaned = signal.getsignal(number), []
    with pytest.raises(KeyboardInterrupt), _interruptible():
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            os.kill(os.getpid(), number)  # once more: it is not cut short
            cleaned.append(True)
    assert cleaned
    assert signal.getsignal(number) is before
