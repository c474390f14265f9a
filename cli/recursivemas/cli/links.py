"""`rmas links`: checks link files, converts them to and from other formats, and shares them."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from recursivemas.cli.console import plain_console
from recursivemas.cli.links_gallery import gallery_command
from recursivemas.cli.links_publish import publish_command
from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json
from recursivemas.system.links_file import LinkFile, load_links
from recursivemas.system.names import Dtype
from recursivemas.system.system import System, load_system

links_command = typer.Typer(
    no_args_is_help=True, help="Check link files, convert them to and from other formats, and share them."
)
links_command.command("publish")(publish_command)
links_command.command("gallery")(gallery_command)


@links_command.command("check")
def check_command(
    file: Annotated[Path, typer.Argument(help="A recursivelink.json.")],
    system: Annotated[
        Path | None, typer.Option(help="Also check the links against this system's graph and agents.")
    ] = None,
) -> None:
    """Checks a link file and shows the links in it."""
    links = load_links(file)
    if system is not None:
        from recursivemas.training.loading import load_recursion

        load_recursion(load_system(system), links, weights="checkpoint")
    table = Table("link", "maps", "width", "numbers")
    for kind, group in (("inner", links.inner), ("outer", links.outer)):
        for key, link in group.items():
            count = sum(record.array().size for record in link.tensors.values())
            table.add_row(f"{kind} {key}", f"{link.source_size} to {link.target_size}", str(link.width), f"{count:,}")
    console = plain_console()
    console.print(table)
    console.print(f"{file}: valid; system {links.system}, variant {links.variant}, {links.activation}")


@links_command.command("convert")
def convert_command(
    source: Annotated[
        Path,
        typer.Argument(
            help="A recursivelink.json, a folder with released links or .pt adapters, nested lists, or a system file "
            "with released_links."
        ),
    ],
    out: Annotated[Path, typer.Option(help="File, or folder for .pt adapters.")],
    to: Annotated[
        Literal["recursivelink", "released", "nested"],
        typer.Option(help="Format to write: our recursivelink.json, a folder of .pt adapters, or nested lists."),
    ] = "recursivelink",
    dtype: Annotated[
        Dtype | None, typer.Option(help="Dtype of the numbers in a recursivelink.json. Default: as in the source.")
    ] = None,
    system: Annotated[
        Path | None, typer.Option(help="System whose graph names the links; .pt adapters and nested lists need it.")
    ] = None,
    inner: Annotated[list[str] | None, typer.Option(help="AGENT=FILE in the folder. May be repeated.")] = None,
    outer: Annotated[list[str] | None, typer.Option(help="EDGE=FILE in the folder. May be repeated.")] = None,
    task: Annotated[
        str | None, typer.Option(help="Which released links, where a manifest has several. Default: the system's.")
    ] = None,
) -> None:
    """Converts link files.

    Of the paper's release, `outerlink_config.json` in the folder or in one below it names the outer links; a system
    file that `rmas import-release` wrote says where that is. An inner link lies in a subfolder named after the agent or
    its model, or in the agent's own folder or repository. In another folder, `inner_<agent>.pt` and
    `outer_<from>_to_<to>.pt` are read. --inner and --outer name other files.
    """
    from recursivemas.training.link_formats import to_nested, to_released

    links = _read(source, system, inner or [], outer or [], task)
    if to == "released":
        for path in to_released(links, out):
            typer.echo(str(path))
        return
    if to == "nested":
        to_nested(links, out)
    else:
        links.check_compiles(source)
        (links if dtype is None else links.rounded(dtype)).save(out)
    typer.echo(str(out))


def _read(source: Path, system: Path | None, inner: list[str], outer: list[str], task: str | None) -> LinkFile:
    from recursivemas.training.link_formats import from_nested, from_released
    from recursivemas.training.released_links import find_outer_folder, inner_file, outer_files, outer_folder

    if source.suffix in (".yaml", ".yml"):
        declared = load_system(source)
        if declared.released_links is None:
            raise InputError(f"{source}: has no released_links, which say where the release's links lie; give a folder")
        folder = outer_folder(declared.released_links.outer, source.parent)
        task = task or declared.released_links.task
        agents = {agent.id: inner_file(agent, None, task) for agent in declared.agents}
        return from_released(declared.name, agents, outer_files(declared, folder, task))
    if source.is_dir():
        declared = _needed(system, source)
        task = task or (declared.released_links.task if declared.released_links else None)
        agents = {agent.id: source / f"inner_{agent.id}.pt" for agent in declared.agents}
        edges = {edge.id: source / f"outer_{edge.source}_to_{edge.target}.pt" for edge in declared.edges}
        by_hand = _named(inner, source, agents, "--inner"), _named(outer, source, edges, "--outer")
        manifest = find_outer_folder(source)
        if manifest is not None and by_hand[1].keys() != edges.keys():
            edges = outer_files(declared, manifest, task)
        if manifest is not None:
            agents = {
                agent.id: by_hand[0].get(agent.id) or inner_file(agent, source, task) for agent in declared.agents
            }
        return from_released(declared.name, agents | by_hand[0], edges | by_hand[1])
    if source.suffix == ".pt":
        raise InputError(f"{source}: is one adapter; expected the folder that holds all adapters of the system")
    data = read_json(source, "link file")
    if isinstance(data, dict) and data.get("format") != "recursivemas.links" and isinstance(data.get("links"), list):
        declared = _needed(system, source)
        names = [(edge.id, edge.source, edge.target) for edge in declared.edges]
        return from_nested(source, declared.name, [agent.id for agent in declared.agents], names)
    return load_links(source)


def _needed(system: Path | None, source: Path) -> System:
    if system is None:
        raise InputError(f"{source}: does not say which agents its links belong to; pass --system FILE.yaml")
    return load_system(system)


def _named(pairs: list[str], folder: Path, known: dict[str, Path], option: str) -> dict[str, Path]:
    named = {}
    for pair in pairs:
        key, equals, file = pair.partition("=")
        if not equals or key not in known:
            raise InputError(f"{option} {pair!r}: expected NAME=FILE with a name of {', '.join(known)}")
        named[key] = folder / file
    return named
