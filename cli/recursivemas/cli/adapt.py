"""`rmas adapt`: trains a LoRA adapter for the agents of a system, or for one model, from role texts."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recursivemas.cli.options import DeviceOption, PrecisionOption, ThreadsOption, use_threads
from recursivemas.cli.phases import shown_phases
from recursivemas.system.errors import InputError
from recursivemas.system.names import Quantization
from recursivemas.system.strict import MOST_YAML_BYTES, parse_yaml, read_text
from recursivemas.system.system import Agent, System, load_system

if TYPE_CHECKING:
    from recursivemas.training.agents import LoadedAgent
    from recursivemas.training.train.role_texts import Lesson, Padding, RoleText


def adapt_command(
    target: Annotated[
        str,
        typer.Argument(metavar="SYSTEM|MODEL", help="A system's YAML file, or a model as its `model` key names it."),
    ],
    data: Annotated[Path, typer.Option(help="Role texts: JSON lines of prompt (or question) and completion.")],
    out: Annotated[Path, typer.Option(help="Folder for adapter_config.json and adapter_model.safetensors.")],
    held_out: Annotated[
        Path | None, typer.Option(help="Role texts that measure. Default: every sixteenth of --data.")
    ] = None,
    agents: Annotated[
        str | None, typer.Option(help="Agents of the system, with commas between. Default: all that have texts.")
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="Of a MODEL that comes from a package.")] = None,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the adapter's matrices.")] = 8,
    alpha: Annotated[int, typer.Option(min=1, help="The adapter's part is scaled by alpha / rank.")] = 16,
    targets: Annotated[
        str, typer.Option(help="Linear layers that get an adapter, with commas between.")
    ] = "q_proj,k_proj,v_proj,o_proj",
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = 200,
    batch: Annotated[int, typer.Option(min=1, help="Texts in a step.")] = 24,
    learning_rate: Annotated[float, typer.Option(min=0, help="Peak learning rate.")] = 1e-3,
    warmup: Annotated[int, typer.Option(min=0, help="Steps of warm-up; cosine decay follows.")] = 10,
    noise: Annotated[
        float, typer.Option(min=0, help="Largest noise on embeddings of hand-offs, relative to their norm.")
    ] = 0.5,
    noise_scale: Annotated[
        float, typer.Option(min=0, help="Standard deviation of the logarithm of those embeddings' scale.")
    ] = 0.3,
    noise_share: Annotated[float, typer.Option(min=0, max=1, help="Share of the texts with noise.")] = 0.7,
    hand_off_tokens: Annotated[
        int | None, typer.Option(min=0, help="Fixed length of hand-offs; 0: as they are. Default: latent steps, or 0.")
    ] = None,
    pad: Annotated[str, typer.Option(help="Text of one token that fills hand-offs up.")] = "\n",
    quantization: Annotated[
        Quantization | None,
        typer.Option(help="Train with the weights that a build of this quantization stores after the merge."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Continue from the last checkpoint in --out.")] = False,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 50,
    measure_every: Annotated[int, typer.Option(min=1, help="Steps between measurements on held-out texts.")] = 50,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Trains an adapter on the completions of role texts; the model's own weights stay as they are.

    The folder is in peft's format, so that `adapter:` in a system and peft itself read it.
    """
    from recursivemas.training.agents import load_agents
    from recursivemas.training.loading import agents_dtype, chosen_device
    from recursivemas.training.train.adapt import AdapterSettings, train_adapter
    from recursivemas.training.train.role_texts import lesson, load_role_texts

    use_threads(threads)
    is_system = Path(target).suffix in (".yaml", ".yml")
    system = load_system(target) if is_system else _system_of(target, sha256)
    texts = load_role_texts(data)
    measured = None if held_out is None else load_role_texts(held_out)
    chosen = _chosen(system, texts, agents) if is_system else [system.agents[0].id]
    base = _base(system, chosen)
    place = chosen_device(device)
    # What a build stores is computed from float32 weights.
    loaded = load_agents(base, place, agents_dtype("float32" if quantization else precision, place))
    prefix = system.decoding.answer_prefix

    def read(found: "list[RoleText]") -> "list[Lesson]":
        first = loaded[chosen[0]]
        own = [
            (loaded.get(text.agent or "", first), text)
            for text in found
            if text.agent in {None, *loaded} or not is_system
        ]
        return [
            lesson(agent, text, _padding(system if is_system else None, agent, hand_off_tokens, pad), prefix)
            for agent, text in own
        ]

    settings = AdapterSettings(
        rank=rank,
        alpha=alpha,
        targets=tuple(name.strip() for name in targets.split(",")),
        steps=steps,
        batch_size=batch,
        learning_rate=learning_rate,
        warmup_steps=warmup,
        noise_scale=noise_scale,
        noise=noise,
        noise_share=noise_share,
        seed=seed,
        quantization=quantization,
    )
    with shown_phases() as start:
        figures = train_adapter(
            loaded[chosen[0]],
            read(texts),
            out,
            settings,
            base=target if not is_system else _declared_model(target, chosen[0]),
            held_out=None if measured is None else read(measured),
            resume=resume,
            checkpoint_every=checkpoint_every,
            measure_every=measure_every,
            progress=start,
            say=functools.partial(typer.echo, err=True),
        )
    for name, value in figures.items():
        typer.echo(f"{name}: {value:.3f}")
    typer.echo(f"{out / 'adapter_config.json'}, {out / 'adapter_model.safetensors'}, {out / 'metrics.jsonl'}")


def _system_of(model: str, sha256: str | None) -> System:
    """A system of one agent, for a model that stands alone."""
    agent = {"id": "model", "role": "model", "model": model, "prompt": "{question}"}
    given = {} if sha256 is None else {"sha256": sha256}
    shape = {"version": 1, "name": "model", "pattern": "graph", "rounds": 1, "latent_steps": 1}
    return System.parse({**shape, "agents": [{**agent, **given}]}, model)


def _chosen(system: System, texts: "list[RoleText]", names: str | None) -> list[str]:
    """Ids of the agents that learn together."""
    known = [agent.id for agent in system.agents]
    if names is None:
        with_texts = {text.agent for text in texts}
        return [each for each in known if each in with_texts] or known[:1]
    wanted = [name.strip() for name in names.split(",")]
    if unknown := [name for name in wanted if name not in known]:
        raise InputError(f"--agents {unknown[0]!r} is unknown; the system has {', '.join(known)}")
    return wanted


def _base(system: System, chosen: list[str]) -> System:
    """The system with its chosen agents on their checkpoint without an adapter.

    Raises:
        InputError: When they do not share one checkpoint.
    """

    def plain(agent: Agent) -> Agent:
        return agent.model_copy(update={"adapter": None, "adapter_revision": None})

    first, *others = [plain(system.agent(each)) for each in chosen]
    for other in others:
        if (other.model, other.revision) != (first.model, first.revision):
            raise InputError(
                f"agents {first.id!r} and {other.id!r} have different models; give each an adapter of its own, with "
                "--agents"
            )
    return system.model_copy(update={"agents": tuple(plain(a) for a in system.agents if a.id in chosen)})


def _padding(system: System | None, agent: "LoadedAgent", tokens: int | None, pad: str) -> "Padding":
    """The fixed length of hand-offs: what was asked for, else the latent steps of the system, if there is one."""
    from recursivemas.training.train.role_texts import Padding, pad_token, padding_of

    if tokens is None and system is not None:
        return padding_of(system, agent, pad)
    return Padding(tokens, pad_token(agent, pad)) if tokens else Padding(None, 0)


def _declared_model(path: str, agent_id: str) -> str:
    """An agent's model as the YAML file names it, without this machine's folders."""
    agents = parse_yaml(read_text(Path(path), "system file", MOST_YAML_BYTES), path)["agents"]
    return str(next(agent["model"] for agent in agents if agent["id"] == agent_id))
