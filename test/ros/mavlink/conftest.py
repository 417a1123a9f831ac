"""The tests of the MAVLink camera need pymavlink."""

from __future__ import annotations

import pytest

pytest.importorskip('pymavlink', reason='extra [mavlink] not installed')
