"""When a request is tried again, and after how long: one policy for Prometheus and Kubernetes."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: Statuses of HTTP after which another try may help.
RETRYABLE = frozenset({429, 502, 503, 504})
#: A hundred years, so that it is a date [s].
_LONGEST_WAIT = 36500 * 86400.0


def backoff(failed: int) -> float:
    """Return the pause before the next try [s]: twice as long each time, up to 8 s, and random.

    Parameters
    ----------
    failed
        Number of tries that have failed, without the last one.
    """
    longest: float = min(0.25 * 2 ** min(failed, 5), 8.0)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311


def retry_after(text: str) -> float:
    """Read how long a server asks to wait [s] (RFC 9110, section 10.2.3); 0 if it does not say.

    Parameters
    ----------
    text
        Of the header ``Retry-After``: seconds, a date, or anything.
    """
    if re.fullmatch(r"[0-9]+", text.strip()):
        return min(float(text), _LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    # Without a zone, or with -0000, it is UTC all the same.
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((aware - datetime.now(UTC)).total_seconds(), 0.0), _LONGEST_WAIT)
