"""Take fields out of the API's objects. Whatever stands there instead, the type is right. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

_LARGEST = 2**63 - 1


def at(thing: object, *path: str) -> object:
    """Give what stands at a path of keys; None if nothing does."""
    for key in path:
        if not isinstance(thing, Mapping):
            return None
        thing = thing.get(key)
    return thing


def text(thing: object, *path: str) -> str:
    """Give the text at a path; ``""`` if there is none."""
    found = at(thing, *path)
    return found if isinstance(found, str) else ""


def number(thing: object, *path: str) -> int:
    """Give the whole number at a path; 0 if there is none that fits into 64 bits."""
    found = at(thing, *path)
    whole = isinstance(found, int) and not isinstance(found, bool) and abs(found) <= _LARGEST
    return found if whole and isinstance(found, int) else 0


def flag(thing: object, *path: str) -> bool:
    """Tell whether there is a ``true`` at a path."""
    return at(thing, *path) is True


def objects(thing: object, *path: str) -> list[Mapping[str, object]]:
    """Give the objects of the list at a path."""
    found = at(thing, *path)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def texts(thing: object, *path: str) -> list[str]:
    """Give the texts of the list at a path."""
    found = at(thing, *path)
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def pairs(thing: object, *path: str) -> dict[str, str]:
    """Give the pairs of texts at a path, such as labels, in the order of their names."""
    found = at(thing, *path)
    if not isinstance(found, Mapping):
        return {}
    both = {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, str)}
    return dict(sorted(both.items()))


def moment(thing: object, *path: str) -> datetime | None:
    """Give the time at a path in UTC, to the microsecond; None if there is none."""
    try:
        found = datetime.fromisoformat(text(thing, *path))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def condition(thing: object, kind: str) -> Mapping[str, object]:
    """Give the condition of this type in an object's status; empty if it has none."""
    found = (one for one in objects(thing, "status", "conditions") if one.get("type") == kind)
    return next(found, {})


def written(thing: object, *parts: str) -> datetime | None:
    """Give when some parts of an object were last written, as its managed fields tell.

    Parameters
    ----------
    thing
        An object of the API.
    parts
        Such as ``f:spec``. What only the status received does not count.
    """
    times = [
        moment(entry, "time")
        for entry in objects(thing, "metadata", "managedFields")
        if not text(entry, "subresource")
        and any(at(entry, "fieldsV1", part) is not None for part in parts)
    ]
    return max((time for time in times if time), default=None)
