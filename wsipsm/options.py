"""What the commands share: options made from settings, errors as exit codes, quarantine."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_origin

import click

from wsipsm import config
from wsipsm.errors import DataError, WsipsmError

EXISTING = click.Path(exists=True, path_type=Path)
TARGET = click.Path(path_type=Path)

target = click.argument("target", type=TARGET)
workers = click.option(
    "--workers", type=click.IntRange(1), help="Parallel workers. [default: the allotted cores]"
)
seed = click.option("--seed", default=0, show_default=True, help="Seed of every draw by chance.")
quarantine = click.option(
    "--quarantine", is_flag=True, help="Set a bad slide aside in TARGET, and exit with 0."
)


def settings(
    section: type[config.Section], *, prefix: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add one option for each field of `section`; the command gets them as `settings`.

    With a prefix, the options begin with it, and the command gets them by that name.
    """
    start = f"{prefix}_" if prefix else ""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(**values: Any) -> Any:
            given = {name: values.pop(start + name) for name in section.model_fields}
            chosen = {name: _several(v) for name, v in given.items() if v not in (None, ())}
            where = f"wsipsm {click.get_current_context().info_name}"
            found = {prefix or "settings": config.parse(section, chosen, where=where)}
            return function(**found, **values)

        for name, field in reversed(section.model_fields.items()):
            default = field.get_default()
            shown = " ".join(default) if isinstance(default, tuple) else default
            command = click.option(
                f"--{(start + name).replace('_', '-')}",
                start + name,
                multiple=get_origin(field.annotation) is tuple,
                help=f"{(field.description or '').capitalize()}. [default: {shown}]",
            )(command)
        return command

    return decorate


def _several(value: Any) -> Any:
    """Values of a repeated option; one empty value (`--controls ""`) stands for none at all."""
    return tuple(filter(None, value)) if isinstance(value, tuple) else value


class Group(click.Group):
    """Sub-commands in the order of the stages; our errors become one sentence and a code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of the commands, in the order of their definition."""
        return list(self.commands)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Take `@FILE` for the words that FILE holds, quoted as for a shell: there may be many."""
        words = [word for given in args for word in _words_of(given)]
        return super().make_context(info_name, words, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; print an error of ours as one sentence and exit with its code."""
        try:
            return super().invoke(ctx)
        except WsipsmError as error:
            click.echo(f"wsipsm: {error}", err=True)
            sys.exit(error.exit_code)


def _words_of(given: str) -> list[str]:
    path = Path(given[1:])
    return shlex.split(path.read_text()) if given.startswith("@") and path.is_file() else [given]


def set_aside(product: Path, *, wanted: bool, work: Callable[[], object]) -> None:
    """Do `work`; where it is `wanted`, quarantine `product` instead of failing.

    Data that cannot be used are a reason, and so is work that has died three times.
    """
    if not wanted:
        work()
        return
    from wsipsm.io.product import quarantine as write_quarantined
    from wsipsm.io.tries import counted

    context = click.get_current_context()
    stage = context.info_name or ""
    try:
        with counted(product, command={"stage": stage, **context.params}):
            work()
    except DataError as error:
        write_quarantined(product, stage=stage, reason=str(error))
        click.echo(f"wsipsm: quarantined: {error}", err=True)
