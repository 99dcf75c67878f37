"""A whole study in one file, and completion of the shell."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class

from zodc.cli_check import evaluate
from zodc.cli_common import FILE, quiet_option
from zodc.cli_run import check_out, condense, recondense
from zodc.evaluate import check_by
from zodc.learners import resolve
from zodc.schema import Schema

__all__ = ["completion", "run"]

_COMMANDS: dict[str, click.Command] = {"condense": condense, "recondense": recondense, "evaluate": evaluate}


@dataclass(frozen=True, kw_only=True)
class _Step:
    """One command with its arguments."""

    name: str
    arguments: tuple[str, ...]
    out: Path | None
    overwrite: bool


@click.command(short_help="Run a whole study from one file.")
@click.argument("study", type=FILE)
@quiet_option
@click.pass_context
def run(ctx: click.Context, study: Path) -> None:
    """Run the [condense], [[recondense]] and [[evaluate]] tables of STUDY (TOML), in this order.

    Each key is an option of that command, or its argument; paths are relative to the file. RELEASE is the
    condensed one unless `release` names another. All keys are checked before any budget is spent.
    """
    steps = _read(study)
    said = dict(ctx.meta)
    with chdir(study.resolve().parent):
        parsed = [_check(step, ctx) for step in steps]
        _check_against_the_schema(steps, parsed)
        for step in steps:
            # What one step is asked, as json = true, is no wish for the next.
            ctx.meta.clear()
            ctx.meta.update(said)
            with _COMMANDS[step.name].make_context(step.name, list(step.arguments), parent=ctx) as inner:
                inner.command.invoke(inner)


def _read(study: Path) -> list[_Step]:
    try:
        tables = tomllib.loads(study.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise click.UsageError(f"'{study}' is not a TOML file in UTF-8; mend it.") from None
    unknown = [name for name in tables if name not in _COMMANDS]
    if unknown:
        known = ", ".join(f"[{name}]" for name in _COMMANDS)
        raise click.UsageError(f"'{study}': [{unknown[0]}] is not known; take {known}.")
    if not isinstance(tables.get("condense"), dict):
        raise click.UsageError(f"'{study}' needs one table [condense]; add it.")
    release = tables["condense"].get("out", "")
    steps = []
    for name in _COMMANDS:
        listed = tables.get(name, [])
        for table in listed if isinstance(listed, list) else [listed]:
            if not isinstance(table, dict):
                raise click.UsageError(f"'{study}': {name} is not a table; write [[{name}]].")
            steps.append(_step(study, name, table if name == "condense" else {"release": release} | table))
    outs = [step.out for step in steps if step.out is not None]
    if len(set(outs)) < len(outs):
        raise click.UsageError(f"'{study}': two tables write to one folder; give each its own out.")
    return steps


def _step(study: Path, name: str, table: dict[str, Any]) -> _Step:
    parameters = {_key(parameter): parameter for parameter in _COMMANDS[name].params}
    options: list[str] = []
    arguments: list[str] = []
    for key, value in table.items():
        parameter = parameters.get(key.replace("-", "_"))
        if parameter is None:
            known = ", ".join(sorted(parameters))
            raise click.UsageError(f"'{study}', [{name}]: '{key}' is not known; take one of {known}.")
        if isinstance(parameter, click.Argument):
            arguments += _texts(study, name, key, value)
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            if not isinstance(value, bool):
                raise click.UsageError(f"'{study}', [{name}]: '{key}' must be true or false.")
            options += [parameter.opts[0]] * value
        else:
            options += [f"{parameter.opts[0]}={text}" for text in _texts(study, name, key, value)]
    out = table.get("out")
    return _Step(
        name=name,
        arguments=(*options, "--", *arguments),
        out=Path(out) if isinstance(out, str) else None,
        overwrite=table.get("overwrite") is True,
    )


def _key(parameter: click.Parameter) -> str:
    name = parameter.opts[0].lstrip("-") if isinstance(parameter, click.Option) else parameter.name
    return str(name).replace("-", "_")


def _texts(study: Path, name: str, key: str, value: Any) -> Sequence[str]:
    """Write a value as the command line takes it: one text, several, or NAME=WEIGHT."""
    if isinstance(value, dict):
        value = [f"{word}={weight}" for word, weight in value.items()]
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in values):
        raise click.UsageError(f"'{study}', [{name}]: '{key}' must be a text, a number, or a list of them.")
    return [str(one) for one in values]


def _check(step: _Step, ctx: click.Context) -> dict[str, Any]:
    """Parse a step's options as its command will, and look at its folder, before any budget is spent."""
    # The release that later steps read is not there yet.
    stand_in = ["." if step.name != "condense" else text for text in step.arguments[-1:]]
    with _COMMANDS[step.name].make_context(step.name, [*step.arguments[:-1], *stand_in], parent=ctx) as inner:
        parsed = dict(inner.params)
    if step.out is not None:
        check_out(step.out, step.overwrite)
    return parsed


def _check_against_the_schema(steps: Sequence[_Step], parsed: Sequence[dict[str, Any]]) -> None:
    """Hold what later steps ask of the condensed release against its schema, which is known before it is."""
    schema, release = Schema.load(parsed[0]["schema"]), steps[0].out
    for step, options in zip(steps[1:], parsed[1:], strict=True):
        if Path(step.arguments[-1]) == release:
            if step.name == "recondense":
                resolve(options["learner"], schema)
            else:
                check_by(schema, options["by"])


@click.command(short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    For bash, add to ~/.bashrc: eval "$(zodc completion bash)". For zsh, add to ~/.zshrc:
    eval "$(zodc completion zsh)".
    """
    of_shell = get_completion_class(shell)
    assert of_shell is not None
    click.echo(of_shell(ctx.find_root().command, {}, "zodc", "_ZODC_COMPLETE").source())
