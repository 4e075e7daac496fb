"""What is usual at a time of day, and taken away. Pure."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Parts of a day for which a usual level is taken.
SLOTS = 48
#: Less than so many days do not tell a time of day from an incident.
ENOUGH_DAYS = 2
_DAY = pd.Timedelta(days=1)


def spans_days(times: pd.Index) -> bool:
    """Tell whether a baseline is long enough to know each time of day more than once."""
    return len(times) > 1 and bool(times[-1] - times[0] >= 0.99 * ENOUGH_DAYS * _DAY)


def without_days(
    baseline: Floats, window: Floats, *, usual_times: pd.Index, times: pd.Index
) -> tuple[Floats, Floats]:
    """Take away by how much a time of day usually differs from the whole day.

    The usual level at a time of day is the median over the baseline, half an hour at a time, and
    a line between these.

    Parameters
    ----------
    baseline, window
        Shape (T, S), the same series in both; NaN where nothing is known.
    usual_times, times
        Of their rows (UTC).

    Returns
    -------
    tuple
        Both without it; as they are where the baseline has less than two days.
    """
    if not spans_days(usual_times):
        return baseline, window
    slots = np.floor(_place(usual_times)).astype(np.int64)
    profile = np.full((SLOTS, baseline.shape[1]), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a slot in which nothing was observed
        for slot in np.unique(slots):
            profile[slot] = np.nanmedian(baseline[slots == slot], axis=0)
        profile -= np.nanmedian(profile, axis=0)
    profile = np.nan_to_num(profile)
    return baseline - _at(profile, usual_times), window - _at(profile, times)


def _place(times: pd.Index) -> Floats:
    """Give the time of day [slots]."""
    moments = pd.DatetimeIndex(times)
    since = (moments - moments.floor("D")) / _DAY
    return np.asarray(since, dtype=np.float64) * SLOTS


def _at(profile: Floats, times: pd.Index) -> Floats:
    """Read the profile between the middles of its slots."""
    place = _place(times) - 0.5
    before = np.floor(place).astype(np.int64)
    share = (place - before)[:, None]
    values: Floats = profile[before % SLOTS] * (1 - share) + profile[(before + 1) % SLOTS] * share
    return values
