"""What all topics cost grows no faster than the nodes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from cilium_analysis.topics.loading import CROWD
from tests.cluster import crowd
from tests.conftest import installed_or_skip
from tests.servers import checksum, crowded
from tests.servers.prometheus import NotInstalled

HOUR = timedelta(hours=1)
#: the control plane and few workers, twice as many, and more than a crowd: each simulated worker
#: as often as the others
SIZES = tuple(1 + crowd.SIMULATED * times for times in (2, 4, 1 + CROWD // crowd.SIMULATED))


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, crowded.Cost]]:
    """The cost of each topic by the number of nodes."""
    folder = tmp_path_factory.mktemp("crowd")
    told = crowd.scenario((1, 18, 2), hours=3)
    window = crowded.last(told, HOUR)
    try:
        simulated = crowded.simulated(told, folder / "simulated")
    except NotInstalled as error:
        installed_or_skip(error)
        raise
    found = {}
    for nodes in SIZES:
        with crowded.serve(simulated, nodes, folder / f"{nodes}") as server:
            found[nodes] = crowded.costs(server.url, window, Path(folder / f"bundle-{nodes}"))
    return found


@pytest.mark.parametrize(("few", "many"), [SIZES[:2], SIZES[1:]])
def test_no_topic_grows_faster_than_the_nodes(
    few: int, many: int, costs: dict[int, dict[str, crowded.Cost]]
) -> None:
    times = (many - 1) / (few - 1)
    for topic, cost in costs[many].items():
        assert cost.samples <= 1.05 * costs[few][topic].samples * times, topic
        assert cost.queries <= costs[few][topic].queries, topic


def test_the_checksum_is_that_of_its_definition() -> None:
    # RFC 3720, B.4, and the check value of the catalogue of CRCs.
    assert checksum.of(b"123456789") == 0xE3069283
    assert checksum.of(bytes(32)) == 0x8A9136AA
    texts = [b"", b"123456789", bytes(32), b"\xff" * 32]
    assert checksum.of_each(texts).tolist() == [checksum.of(text) for text in texts]
