"""`rmas architectures`: the architectures in MLC-LLM's registry, and which of them build."""

from typing import Annotated

import typer
from rich.table import Table

from recursivemas.cli.console import plain_console
from recursivemas.system.errors import InputError


def architectures_command(
    names: Annotated[list[str] | None, typer.Argument(help="Architectures to show. Default: all.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Build and compare them now, about a minute each.")] = False,
    record: Annotated[bool, typer.Option("--record", help="With --check: save the results.")] = False,
) -> None:
    """Lists MLC-LLM's architectures: whether each builds, whether its numbers were compared, or why it fails."""
    from recursivemas.architectures import record as survey  # TVM and torch take seconds to import
    from recursivemas.mlc.importing import import_mlc

    if record and not check:
        raise InputError("--record saves what --check computes; give both")
    console = plain_console(soft_wrap=True)
    if check:
        mlc = import_mlc()
        chosen = _chosen(names, survey.registry(mlc))
        versions, outcomes = dict(survey.versions(mlc)), []
        with console.status("checking") as status:
            for outcome in survey.check(mlc, chosen, lambda name: status.update(f"checking {name}")):
                outcomes.append(outcome)
                if record:
                    survey.record(survey.RESULTS, mlc, outcomes)
    else:
        recorded, outcomes = survey.load(survey.RESULTS)
        versions = dict(recorded)
        wanted = _chosen(names, [each.architecture for each in outcomes])
        outcomes = [each for each in outcomes if each.architecture in wanted]
    console.print(
        ("Computed now with " if check else "Recorded with ") + ", ".join(f"{k} {v}" for k, v in versions.items())
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("architecture", "status", "hidden states", "logits", "note"):
        table.add_column(heading)
    for each in outcomes:
        errors = ("" if error is None else f"{error:.1e}" for error in (each.hidden_error, each.logits_error))
        table.add_row(each.architecture, each.status, *errors, each.note or each.correction)
    console.print(table)
    built = sum(each.builds for each in outcomes)
    compared = sum(each.status == "builds, parity checked" for each in outcomes)
    console.print(f"{built} of {len(outcomes)} build, {compared} of them agree with transformers")


def _chosen(names: list[str] | None, known: list[str]) -> list[str]:
    unknown = [name for name in names or [] if name not in known]
    if unknown:
        raise InputError(f"unknown architecture {unknown[0]!r}; known: {', '.join(known)}")
    return names or known
