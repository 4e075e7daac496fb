"""What all topics cost grows no faster than the nodes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest

from cilium_analysis.bundle import Bundle
from cilium_analysis.topics import dns, drops, flows, http
from cilium_analysis.topics.loading import CROWD
from cilium_simulator import crowd
from tests.conftest import installed_or_skip
from tests.servers import checksum, crowded
from tests.servers.prometheus import NotInstalled

TOLD = crowd.scenario((1, 18, 2), hours=3)
WINDOW = crowded.last(TOLD, timedelta(hours=1))
#: the control plane and few workers, twice as many, and more than a crowd: each simulated worker
#: as often as the others
SIZES = tuple(1 + crowd.SIMULATED * times for times in (2, 4, 1 + CROWD // crowd.SIMULATED))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers and what they answered are kept."""
    return tmp_path_factory.mktemp("crowd")


@pytest.fixture(scope="module")
def costs(folder: Path) -> dict[int, dict[str, crowded.Cost]]:
    """The cost of each topic by the number of nodes."""
    try:
        simulated = crowded.simulated(TOLD, folder / "simulated")
    except NotInstalled as error:
        installed_or_skip(error)
        raise
    found = {}
    for nodes in SIZES:
        with crowded.serve(simulated, nodes, folder / f"{nodes}") as server:
            found[nodes] = crowded.costs(server.url, WINDOW, Path(folder / f"bundle-{nodes}"))
    return found


@pytest.mark.slow(group="crowd")
@pytest.mark.parametrize(("few", "many"), [SIZES[:2], SIZES[1:]])
def test_no_topic_grows_faster_than_the_nodes(
    few: int, many: int, costs: dict[int, dict[str, crowded.Cost]]
) -> None:
    times = (many - 1) / (few - 1)
    for topic, cost in costs[many].items():
        assert cost.samples <= 1.05 * costs[few][topic].samples * times, topic
        assert cost.queries <= costs[few][topic].queries, topic


@pytest.mark.slow(group="crowd")
@pytest.mark.usefixtures("costs")
@pytest.mark.parametrize("topic", [drops, dns, flows, http])
def test_what_many_nodes_mean_is_a_note_and_no_doubt(topic: ModuleType, folder: Path) -> None:
    for nodes in SIZES:
        data = topic.load(Bundle(folder / f"bundle-{nodes}"), WINDOW, WINDOW.baseline())
        said = [note for note in topic.notes(data) if "added up over them" in note]
        assert len(said) == (nodes > CROWD)
        assert all(f"{nodes} nodes" in note and not note.startswith("Server") for note in said)
        assert not any(
            "nodes:" in reason for f in topic.findings(data) for reason in f.trust_reasons
        )


def test_the_checksum_is_that_of_its_definition() -> None:
    # RFC 3720, B.4, and the check value of the catalogue of CRCs.
    assert checksum.of(b"123456789") == 0xE3069283
    assert checksum.of(bytes(32)) == 0x8A9136AA
    texts = [b"", b"123456789", bytes(32), b"\xff" * 32]
    assert checksum.of_each(texts).tolist() == [checksum.of(text) for text in texts]
