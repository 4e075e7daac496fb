"""How three programs read a text, and how to write it so that it arrives as it was."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[\w./:@,=+-]+", re.ASCII)
#: What cron or the shell would read, or an opening that either would.
_RUNS = re.compile(r"%|'+|[^%'\\]*\\|[^%'\\]+")


def for_crontab(text: str) -> str:
    r"""Write a word for the shell that cron starts.

    An unescaped ``%`` ends the command, and crons differ in whether they take the backslash of
    ``\%`` away and whether one backslash escapes another. So a ``%`` stands outside of quotes,
    where the shell takes away what cron has left, and no backslash stands before another.
    """
    if _PLAIN.fullmatch(text):
        return text
    return "".join(_shell_run(run) for run in _RUNS.findall(text)) or "''"


def _shell_run(run: str) -> str:
    if run == "%":
        return r"\%"
    return f'"{run}"' if run[0] == "'" else f"'{run}'"


def for_exec(text: str) -> str:
    """Write a word of a command line of systemd (systemd.service(5), "Command lines")."""
    return for_setting(text.replace("$", "$$"))


def for_setting(text: str) -> str:
    """Write a word of a setting of systemd (systemd.syntax(7), "Quoting")."""
    escaped = specifiers(text)
    if _PLAIN.fullmatch(escaped.replace("%", "").replace("$", "")):
        return escaped
    mark = "'" if '"' in escaped and "'" not in escaped else '"'
    return mark + escaped.replace("\\", "\\\\").replace(mark, f"\\{mark}") + mark


def specifiers(text: str) -> str:
    """Write a text where systemd expands ``%`` and its letters."""
    return text.replace("%", "%%")


def for_container(text: str) -> str:
    """Write an argument or variable of a container, where Kubernetes expands ``$(NAME)``.

    It reads ``$$`` as one dollar sign wherever that stands.
    """
    return text.replace("$", "$$")
