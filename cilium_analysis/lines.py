"""Reads YAML with its line numbers, so that every error names the line of the mistake.

Scalars are taken as they are written: ``1h``, ``2026-03-21 08:00`` and ``no`` are texts.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from cilium_analysis.errors import ParameterError, UsageError, suggest
from cilium_analysis.texts import clipped, line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

_NOTHING = "tag:yaml.org,2002:null"
_SHOWN = 60
_REPEATING = re.compile(r"(alias|anchor|handle) .*", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """A part of a YAML file, with its place.

    Parameters
    ----------
    file
        The YAML file.
    node
        As PyYAML composed it.
    """

    file: Path
    node: yaml.Node

    @property
    def place(self) -> str:
        """File and line, as compilers write them."""
        return f"{self.file}:{self.node.start_mark.line + 1}"

    def mistake(self, text: str) -> ParameterError:
        """Give an error that names this place."""
        return ParameterError(f"{self.place}: {text}")

    def mapping(self, what: str, *, known: Collection[str]) -> dict[str, Entry]:
        """Give the entries of a mapping by their keys.

        Parameters
        ----------
        what
            The mapping, for people.
        known
            Keys that it may have.

        Raises
        ------
        ParameterError
            If this is no mapping, or a key is unknown or there twice.
        """
        found = self.any_mapping(what)
        for name in found:
            if name not in known:
                shown = clipped(line(name), _SHOWN)
                text = f"unknown key {shown!r} in {what}: {suggest(shown, known)}"
                raise self._key(name).mistake(text)
        return found

    def any_mapping(self, what: str) -> dict[str, Entry]:
        """Give the entries of a mapping by their keys, whatever they are; else as `mapping`."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.mistake(f"{what} has to be a mapping, as in `key: value`")
        found: dict[str, Entry] = {}
        for key_node, node in self.node.value:
            key = Entry(self.file, key_node)
            name = key.text(f"a key of {what}")
            if name in found:
                raise key.mistake(f"the key {name!r} occurs twice in {what}")
            found[name] = Entry(self.file, node)
        return found

    def _key(self, name: str) -> Entry:
        return next(
            Entry(self.file, key) for key, _ in self.node.value if str(key.value).strip() == name
        )

    def items(self, what: str) -> list[Entry]:
        """Give the entries of a list.

        Raises
        ------
        ParameterError
            If this is no list, or an empty one.
        """
        if not isinstance(self.node, yaml.SequenceNode) or not self.node.value:
            raise self.mistake(f"{what} has to be a list with something in it")
        return [Entry(self.file, node) for node in self.node.value]

    def text(self, what: str) -> str:
        """Give a text as it is written.

        Raises
        ------
        ParameterError
            If this is no text, an empty one, or one of several lines.
        """
        node = self.node
        if not isinstance(node, yaml.ScalarNode) or node.tag == _NOTHING or not node.value.strip():
            raise self.mistake(f"{what} has to be a text")
        value = str(node.value).strip()
        if not value.isprintable():
            raise self.mistake(f"{what} holds line ends or control characters")
        return value

    def block(self, what: str) -> str:
        """Give a text of several lines; otherwise as `text`."""
        if not isinstance(self.node, yaml.ScalarNode) or not self.node.value.strip():
            raise self.mistake(f"{what} has to be a text")
        return str(self.node.value)

    def texts(self, what: str) -> tuple[str, ...]:
        """Give the texts of a list, or a single text in place of a list."""
        if isinstance(self.node, yaml.ScalarNode):
            return (self.text(what),)
        return tuple(entry.text(what) for entry in self.items(what))

    def flag(self, what: str) -> bool:
        """Give ``true`` or ``false``.

        Raises
        ------
        ParameterError
            If it is neither.
        """
        text = self.text(what)
        if text not in ("true", "false"):
            raise self.mistake(f"{what} is true or false")
        return text == "true"

    @contextmanager
    def named(self) -> Iterator[None]:
        """Name this place in the errors of a block.

        Raises
        ------
        ParameterError
            In place of any `UsageError`.
        """
        try:
            yield
        except UsageError as problem:
            raise self.mistake(str(problem)) from None


def read(file: Path, *, needs: str) -> Entry:
    """Read a YAML file; nothing in it is executed or made into objects.

    Parameters
    ----------
    file
        To read.
    needs
        What an empty file lacks, for people.

    Raises
    ------
    ParameterError
        If it cannot be read, is no YAML, or is empty.
    """
    try:
        root = yaml.compose(file.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
    except OSError as problem:
        raise ParameterError(f"cannot read {file}: {problem.strerror}") from None
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        place = f"{file}:{mark.line + 1}" if mark else str(file)
        # It repeats a value that begins with *, & or !, and that may be a password.
        said = _REPEATING.sub(r"\1", str(problem.problem))
        quoting = said != problem.problem or "cannot start any token" in said
        hint = ": put quotes around a text that begins with * & ! % @ or `" if quoting else ""
        raise ParameterError(f"{place}: this is not YAML: {said}{hint}") from None
    except (UnicodeDecodeError, yaml.YAMLError):
        raise ParameterError(f"{file} is not text in UTF-8") from None
    except RecursionError:
        raise ParameterError(f"{file} is nested too deeply") from None
    if root is None:
        raise ParameterError(f"{file} is empty: it needs {needs}")
    return Entry(file, root)
