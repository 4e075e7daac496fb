"""What tests of the client ask a stand-in for, and what comes of it."""

from __future__ import annotations

import pandas as pd
import pytest

from cilium_analysis.errors import PrometheusError
from cilium_analysis.prometheus import Prometheus
from cilium_analysis.window import Window
from tests.faults import vector

UP = vector(({"job": "cilium"}, 1.5, "1"))
QUERY = 'up{job="cilium"}'
SECRET = "open-sesame"
WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T08:10Z", step="60s")


def failing(client: Prometheus, query: str = QUERY) -> PrometheusError:
    with pytest.raises(PrometheusError) as caught:
        client.query(query)
    return caught.value


def assert_whole(found: object) -> None:
    assert isinstance(found, pd.Series)
    assert found.to_dict() == {'{job="cilium"}': 1.0}
