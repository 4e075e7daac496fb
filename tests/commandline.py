"""Which options a command has, by its own help."""

from __future__ import annotations

import argparse
import re


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """All that its help lists, with and without a short form."""
    listed = re.findall(r"^ {2}(-.*?)(?: {2}|$)", parser.format_help(), re.MULTILINE)
    return {option for text in listed for option in re.findall(r"(?<![\w-])--?[a-z][\w-]*", text)}
