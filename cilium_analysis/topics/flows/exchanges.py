"""Requests and their answers: SYNs and SYN-ACKs, echo requests and replies. Pure.

Hubble's counters differ from the packets in two ways. A policy verdict is an event of its own that
carries its packet: where a policy selects a workload, one SYN counts two or three times and its
SYN-ACK once. And the client of a SYN is named by the labels of the source, that of a SYN-ACK by
those of the destination: ends that are labelled differently never pair up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cilium_analysis import frames
from cilium_analysis.topics import hubble
from cilium_analysis.topics.parties import column, namespace_of, party, swapped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

#: Labels of one end, by what follows its name; ``""`` is the plain context.
_KINDS = ("namespace", "workload", "app", "pod", "ip", "")
#: Ends pair up where requests are known for this share of the answers.
_PAIRED_FROM = 0.9
#: Fewer answers tell nothing about that [events].
_ENOUGH = 20.0
#: Fewer answers than this share of the usual have fallen.
FALLEN = 0.8
#: A request counts so often at most without verdicts, on one node: where it leaves and arrives.
_MOST_SEEN = 3.0
#: The same with the verdicts of both ends.
_MOST_COUNTED = 4.0
ENDS, NAMESPACES, NOTHING = "ends", "namespaces", "nothing"
_SIDES = ("source", "destination")


@dataclass(frozen=True)
class Exchange:
    """What was asked and answered in each step, by node and ends.

    All frames have the labels ``destination`` (the server), ``node`` and ``source`` (the client).

    Parameters
    ----------
    asked
        Events of requests.
    answered
        Events of answers.
    made
        Those of them that arrive at their client, where Hubble tells directions.
    naming
        What names the ends: `ENDS`, `NAMESPACES` or `NOTHING`.
    reason
        Why the ends are not named as finely as their labels would; ``""`` where they are.
    told
        Events among ``asked`` that are verdicts of a policy; None where that is not known.
    tried
        Those of them about what leaves its client: one per connection, repeated requests left
        out, and none where no policy selects the client. A packet that is dropped on its way to
        a server on the same node is seen by this verdict only. None where ``told`` is.
    """

    asked: pd.DataFrame
    answered: pd.DataFrame
    made: pd.DataFrame
    naming: str
    reason: str = ""
    told: pd.DataFrame | None = None
    tried: pd.DataFrame | None = None

    @property
    def opened(self) -> pd.DataFrame:
        """Requests without the verdicts about them, as far as these are known."""
        if self.told is None or self.tried is None:
            return self.asked
        packets = (self.asked - _aligned(self.told, self.asked)).clip(lower=0.0)
        tried = _aligned(self.tried, self.asked)
        return packets.mask(packets < tried, tried)

    @property
    def missing(self) -> pd.DataFrame:
        """Requests without an answer."""
        return _unanswered(self.opened, self.answered)

    def beyond(self, usually: pd.Series) -> Exchange:
        """Give what is left of the requests when each counts as often as it usually does."""
        unknown = _MOST_SEEN if self.told is None else 1.0
        often = usually.reindex(self.asked.columns).fillna(unknown)
        return replace(self, asked=self.opened / often, told=None, tried=None)

    def often(self) -> pd.Series:
        """Give how many requests there are to one answer, for all ends with enough of them.

        Without verdicts it is one where both are observed at the same points; host networking
        and tunnels show a request at more points than its answer.
        """
        answers = _aligned(self.answered, self.asked).sum()
        answers = answers[answers >= _ENOUGH]
        most = _MOST_SEEN if self.told is not None else _MOST_COUNTED
        return (self.opened.sum()[answers.index] / answers).clip(lower=1.0, upper=most)


def fallen(now: Exchange, baseline: Exchange, *, around: int) -> pd.DataFrame:
    """Tell where far fewer answers come than usual, for the ends of all requests.

    A policy that begins to select a workload lets each request count once more, and leaves the
    answers as they are. Where verdicts are not known, only fewer answers distinguish an outage.

    Parameters
    ----------
    now, baseline
        Of the window and of the baseline.
    around
        Steps that are looked at together.
    """
    answers = _aligned(now.answered, now.asked).rolling(around, center=True, min_periods=1)
    expected = _aligned(baseline.answered, now.asked).mean().fillna(0.0) * answers.count()
    # Two standard deviations of a Poisson count are no fall.
    return answers.sum() <= (FALLEN * expected - 2.0 * expected**0.5).clip(lower=0.0)


def _aligned(frame: pd.DataFrame, like: pd.DataFrame) -> pd.DataFrame:
    return frame.reindex(columns=like.columns).fillna(0.0)


def _unanswered(asked: pd.DataFrame, answered: pd.DataFrame) -> pd.DataFrame:
    open_ = asked - _aligned(answered, asked)
    # Answers beyond the requests of a step belong to the requests of the step before.
    late = open_.shift(-1).clip(upper=0.0).fillna(0.0)
    return (open_ + late).clip(lower=0.0)


@dataclass(frozen=True)
class Raw:
    """One window's events with all context labels.

    Parameters
    ----------
    asked, answered
        Label frames; the source of an answer is the server.
    told
        Label frame of the verdicts among the requests; None where they are not counted.
    """

    asked: pd.DataFrame
    answered: pd.DataFrame
    told: pd.DataFrame | None


def exchanges(windows: Sequence[Raw]) -> list[Exchange]:
    """Pair requests with answers by the finest names that both ends have, the same in all windows.

    Parameters
    ----------
    windows
        Such as a window and its baseline.
    """
    counted = [frame for raw in windows for frame in (raw.asked, raw.answered)]
    kinds = [set().union(*(_kinds(frame, side) for frame in counted)) for side in _SIDES]
    common, every = kinds[0] & kinds[1], kinds[0] | kinds[1]
    names: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
        ENDS: lambda frame: _by_ends(frame, common),
        NAMESPACES: _by_namespaces,
        NOTHING: lambda frame: frames.group(frame, ["node"]),
    }
    if not (common - {"namespace"}) and common != every:
        del names[ENDS]
    for naming, name in names.items():
        asked = [_ends(name(raw.asked)) for raw in windows]
        answered = [swapped(_ends(name(raw.answered))) for raw in windows]
        unnamed = naming == NAMESPACES and not any(map(_named, asked))
        if naming == NOTHING or (_paired(answered, asked) >= _PAIRED_FROM and not unnamed):
            break
    reason = "" if naming == ENDS else _reason(kinds)
    made = [swapped(_ends(name(_egress(raw.answered)))) for raw in windows]
    bare = [Exchange(*each, naming, reason) for each in zip(asked, answered, made, strict=True)]
    told = [_ends(name(raw.told)) for raw in windows if raw.told is not None]
    if len(told) < len(bare) or _paired(told, asked) < _PAIRED_FROM:
        return bare
    tried = [_ends(name(_egress(raw.told))) for raw in windows if raw.told is not None]
    parts = zip(bare, told, tried, strict=True)
    return [replace(each, told=events, tried=own) for each, events, own in parts]


def _kinds(frame: pd.DataFrame, side: str) -> set[str]:
    """Tell which labels name one end anywhere."""
    return {kind for kind in _KINDS if any(frames.values(frame, _label(side, kind)))}


def _label(side: str, kind: str) -> str:
    return f"{side}_{kind}" if kind else side


def _ends(frame: pd.DataFrame) -> pd.DataFrame:
    return frames.group(frame, ["destination", "node", "source"])


def _named(frame: pd.DataFrame) -> bool:
    return any(any(frames.values(frame, side)) for side in _SIDES)


def _by_ends(frame: pd.DataFrame, common: set[str]) -> pd.DataFrame:
    kept = [_label(side, kind) for side in _SIDES for kind in common]
    return hubble.parties(frames.with_levels(frame, ["node", *kept]), ["node"])


def _by_namespaces(frame: pd.DataFrame) -> pd.DataFrame:
    """Name both ends by their namespaces, whichever label tells them."""
    table = frames.labels(frame)
    for side in _SIDES:
        named = zip(column(table, f"{side}_namespace"), party(table, side), strict=True)
        spaces = [space or namespace_of(name)[0] for space, name in named]
        frame = frames.relabel(frame, side, [f"{space}/*" if space else "" for space in spaces])
    return frame


def _egress(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep what a client's own side reports of its connections."""
    way = frames.values(frame, "traffic_direction")
    return frame.loc[:, [text == "egress" for text in way]]


def _paired(answered: Sequence[pd.DataFrame], asked: Sequence[pd.DataFrame]) -> float:
    """Give the share of answers whose ends and node have any request."""
    sums = [frame.sum() for frame in answered]
    known = [
        float(each[each.index.isin(frame.columns[frame.sum() > 0])].sum())
        for each, frame in zip(sums, asked, strict=True)
    ]
    whole = sum(float(each.sum()) for each in sums)
    return sum(known) / whole if whole >= _ENOUGH else 1.0


def _reason(kinds: Sequence[set[str]]) -> str:
    """Say how the two ends are labelled."""
    said = [
        f"the {side} by "
        + (", ".join(kind or "context" for kind in _KINDS if kind in own) or "nothing")
        for side, own in zip(_SIDES, kinds, strict=True)
    ]
    return "Hubble labels " + " and ".join(said)
