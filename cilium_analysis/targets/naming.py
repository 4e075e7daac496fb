"""The node and the cluster of each stored target. Pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from cilium_analysis.targets.stored import differing, is_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cilium_analysis.targets.replicas import Pair, Verdict
    from cilium_analysis.targets.stored import Row

#: Kind and value of what rows of one node share: a node's name, a pod or an address.
Sign = tuple[str, str]
#: Before the name of a label that is a sign for want of another one.
_OWN = "label "
_CLUSTER = re.compile(r"cluster")


def signs(row: Row) -> Iterator[Sign]:
    """Yield everything in the labels of a row that may tell its node."""
    yield from (("node", name) for name in row.nodes)
    if row.pod:
        yield "pod", row.pod
    yield from (("address", address) for address in sorted(row.addresses))


def valid_signs(rows: Sequence[Row]) -> dict[Sign, list[int]]:
    """Find the signs that tell a node, and the rows that have them.

    A sign that different agents have at once tells nothing: the address of a proxy or of a
    federated server, or the node of the server that scrapes.

    Parameters
    ----------
    rows
        All stored targets.
    """
    members: dict[Sign, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        for sign in signs(row):
            members[sign].append(number)
    return {sign: found for sign, found in members.items() if not _shared(rows, sign, found)}


def _shared(rows: Sequence[Row], sign: Sign, members: Sequence[int]) -> bool:
    """Return whether two rows with a sign are of different agents that ran at the same time."""
    alike: dict[object, list[int]] = defaultdict(list)
    for number in members:
        alike[(rows[number].component, rows[number].rest)].append(number)
    for group in alike.values():
        for one, other in combinations(group[:50], 2):
            mine, theirs = (_others(rows[number], sign) for number in (one, other))
            apart = any(mine[k] and theirs[k] and not mine[k] & theirs[k] for k in mine)
            if apart and rows[one].concurrent(rows[other]):
                return True
    return False


def _others(row: Row, sign: Sign) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"node": set(), "pod": set(), "address": set()}
    for kind, value in signs(row):
        if (kind, value) != sign:
            found[kind].add(value)
    return found


def without_contradicted(
    rows: Sequence[Row], valid: Mapping[Sign, list[int]], verdicts: Mapping[Pair, Verdict]
) -> dict[Sign, list[int]]:
    """Leave out the signs of different agents that only a label of their own tells apart.

    A collector on every node scrapes ``localhost``: what tells the nodes is a label that it adds,
    of any name. Rows that no other sign is left of have such a label as their sign.

    Parameters
    ----------
    rows
        All stored targets.
    valid
        As from `valid_signs`.
    verdicts
        As from `replicas.judge`.
    """
    apart = {
        pair
        for pair, verdict in verdicts.items()
        if verdict != "same" and not _rest(rows, pair) and _differ(rows, pair)
    }
    wrong = {
        sign
        for sign, members in valid.items()
        if any(one in members and other in members for one, other in apart)
    }
    kept = {sign: members for sign, members in valid.items() if sign not in wrong}
    known = {number for members in kept.values() for number in members}
    for number, row in enumerate(rows):
        for name in row.own if number not in known else ():
            kept.setdefault((_OWN + name, row.labels[name]), []).append(number)
    return kept


def _differ(rows: Sequence[Row], pair: Pair) -> bool:
    one, other = (rows[number] for number in pair)
    return any(one.labels[n] != other.labels[n] for n in {*one.own} & {*other.own})


def cluster_labels(rows: Sequence[Row], verdicts: Mapping[Pair, Verdict]) -> tuple[str, ...]:
    """List the labels that tell clusters apart; none if there is one cluster.

    Parameters
    ----------
    rows
        All stored targets.
    verdicts
        As from `replicas.judge`: agents that share an address or a name are of different
        clusters, unless they are one agent. Pairs with an unknown verdict are kept apart.
    """
    apart = [_rest(rows, pair) for pair, verdict in verdicts.items() if verdict != "same"]
    twice = {n for p, verdict in verdicts.items() if verdict == "same" for n in _rest(rows, p)}
    often = Counter(name for names in apart for name in names)
    chosen: set[str] = set()
    for names in apart:
        free = (names - twice) or names
        if free and not free & chosen:
            # A label with "cluster" in its name, else one that tells most of them apart.
            chosen.add(min(free, key=lambda n: (not _CLUSTER.search(n), -often[n], n)))
    named = {n for row in rows for n, _ in row.rest if _CLUSTER.search(n)} - twice
    for name in sorted(named):
        values = {row.labels.get(name, "") for row in rows if row.component != "operator"} - {""}
        if len(values) > 1 and not chosen:
            chosen.add(name)
    return tuple(sorted(chosen))


def _rest(rows: Sequence[Row], pair: Pair) -> frozenset[str]:
    one, other = (rows[number] for number in pair)
    shown = {name for name, _ in one.rest ^ other.rest}
    return frozenset(shown & differing(one, other))


def number_nodes(rows: Sequence[Row], valid: Mapping[Sign, Sequence[int]]) -> None:
    """Set the number of the node of each row: rows of one cluster that share a sign share it.

    Operators are nodes of their own.

    Parameters
    ----------
    rows
        All stored targets, with their clusters.
    valid
        As from `valid_signs`.
    """
    parent = list(range(len(rows)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for sign, members in valid.items():
        first: dict[object, int] = {}
        passed_on = sign[0] == "address" and _passed_on(rows, members)
        for number in members:
            row = rows[number]
            key = (row.component == "operator", row.cluster, *row.nodes[: int(passed_on)])
            parent[root(number)] = root(first.setdefault(key, number))
    for number, row in enumerate(rows):
        row.node_id = root(number)


def _passed_on(rows: Sequence[Row], members: Sequence[int]) -> bool:
    """Return whether two nodes had an address in turn: another name, and another pod."""
    named = [rows[number] for number in members if rows[number].nodes]
    return any(
        one.component == other.component
        and one.rest == other.rest
        and (not one.pod or one.pod != other.pod)
        # The same name with a domain is the same node.
        and not any(f"{a}.".startswith(f"{b}.") for a in one.nodes for b in other.nodes)
        and not any(f"{b}.".startswith(f"{a}.") for a in one.nodes for b in other.nodes)
        and not one.concurrent(other)
        for one, other in combinations(named[:50], 2)
    )


def join_same_names(rows: Sequence[Row]) -> None:
    """Give rows of one name one number, where agents and Hubble have nothing else in common.

    Agents may be stored by host and Hubble by address, and kube-state-metrics knows both.
    """
    components: dict[int, set[str]] = defaultdict(set)
    owners: dict[object, set[int]] = defaultdict(set)
    for row in rows:
        if row.node and row.component != "operator":
            components[row.node_id].add(row.component)
            owners[(row.cluster, row.node)].add(row.node_id)
    one: dict[int, int] = {}
    for found in owners.values():
        of_each = [components[node_id] for node_id in found]
        if sum(map(len, of_each)) == len(set().union(*of_each)):
            one |= dict.fromkeys(found, min(found))
    for row in rows:
        row.node_id = one.get(row.node_id, row.node_id)


@dataclass(frozen=True)
class Names:
    """Names of nodes in other metrics.

    Parameters
    ----------
    of_rows
        Names that agents give their own node, by the number of the row.
    of_pods
        Nodes of pods by name, from kube-state-metrics.
    of_addresses
        Names of nodes by address (``cluster/address`` with several clusters), from
        kube-state-metrics, as far as they are consistent.
    """

    of_rows: Mapping[int, str]
    of_pods: Mapping[str, str]
    of_addresses: Mapping[str, str]


def name_nodes(rows: Sequence[Row], valid: Mapping[Sign, object], known: Names) -> None:
    """Set the name of the node of each row.

    A label that names the node comes first, then the name an agent gives its own node, then
    kube-state-metrics by pod and by address. If nothing names the node, its address stands for it,
    else its pod, else a label that no other target shares; if there is none, the name is empty.

    Parameters
    ----------
    rows, valid
        All stored targets, with the numbers of their nodes, and signs as from `valid_signs`.
    known
        Names in other metrics.
    """
    votes: dict[int, list[Counter[str]]] = defaultdict(lambda: [Counter() for _ in range(7)])
    for number, row in enumerate(rows):
        addresses = sorted(sorted(row.addresses), key=is_address, reverse=True)
        told = (
            [n for n in row.nodes if ("node", n) in valid][:1],
            [known.of_rows.get(number, "")],
            [known.of_pods.get(_bare(row.pod), "") if ("pod", row.pod) in valid else ""],
            [
                known.of_addresses.get("/".join(filter(None, (row.cluster, address))), "")
                for address in row.addresses
                if ("address", address) in valid
            ],
            [a for a in addresses if ("address", a) in valid][:1],
            [_bare(row.pod) if ("pod", row.pod) in valid else ""],
            [row.labels[n] for n in row.own if (_OWN + n, row.labels[n]) in valid][:1],
        )
        for votes_of_kind, names in zip(votes[row.node_id], told, strict=True):
            votes_of_kind.update(n for n in names if n)
    chosen = {
        node_id: next((_winner(kind) for kind in kinds if kind), "")
        for node_id, kinds in votes.items()
    }
    for row in rows:
        row.node = chosen[row.node_id]


def _bare(pod: str) -> str:
    return pod.rpartition("/")[2]


def cluster_of(row: Row, clusters: Sequence[str]) -> str:
    """Return the cluster of a row. Agents and Hubble may have it in labels of different names."""
    return "/".join(row.labels[name] for name in clusters if row.labels.get(name))


def _winner(votes: Counter[str]) -> str:
    return min(votes, key=lambda name: (-votes[name], name))


def tell_names_apart(rows: Sequence[Row]) -> None:
    """Write clusters before the names of nodes, and pods behind names that two nodes share."""
    if len({row.cluster for row in rows}) > 1:
        for row in rows:
            row.node = f"{row.cluster}/{row.node}" if row.cluster else row.node
    owners: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        if row.component != "operator":
            owners[row.node].add(row.node_id)
    for row in rows:
        mark = _bare(row.pod) or min(row.addresses, default="")
        if row.node and mark not in ("", row.node) and len(owners[row.node]) > 1:
            row.node = f"{row.node} ({mark})"
