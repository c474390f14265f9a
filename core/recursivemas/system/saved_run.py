"""The saved run: one run of the page, as a JSON file that the page opens again.

Source: docs/formats.md. web/src/formats/saved-run.ts writes and reads it. Version 1 had neither `origin` nor
`options.order`; versions 1 and 2 had neither `options.search`, `options.replace` and `options.trace` nor
`forward_positions`; versions 1 to 3 had no `options.fields`; versions 1 to 4 had neither `options.early_stopping`,
`result.early_stop` nor `similarity` in hand-offs. A key that a version lacks is absent, never null.
"""

from typing import Annotated, Literal

from pydantic import Field

from recursivemas.system.closed import Closed, Sparse
from recursivemas.system.early_stopping import EarlyStop, EarlyStopping
from recursivemas.system.graph import ColumnName, Edge
from recursivemas.system.manifest import Count
from recursivemas.system.names import MAX_AGENTS, MAX_LATENT_STEPS, MAX_ROUNDS, Mode, Scoring, StopReason
from recursivemas.system.settings import Decoding

Name = Annotated[str, Field(min_length=1, max_length=160)]
Milliseconds = Annotated[float, Field(ge=0)]


class Matrix(Closed):
    """A matrix of float32 numbers."""

    rows: Count
    """Number of rows: M, for latent thoughts and hand-offs."""
    columns: Count
    """Number of columns: D, or the receiver's D_target."""
    data: str = Field(json_schema_extra={"contentEncoding": "base64", "contentMediaType": "application/x-float32"})
    """The rows × columns numbers, row-major."""


class Counters(Closed):
    """Exact counts since some moment, made where the GPU device is called."""

    syncs: Count
    """How often JavaScript waited for the GPU: buffer mappings and `onSubmittedWorkDone`."""
    readback_bytes: Count
    """Bytes mapped for reading on the CPU."""
    dispatches: Count
    """Compute dispatches."""
    submits: Count
    """Calls of `queue.submit`."""
    upload_bytes: Count
    """Bytes written by `queue.writeBuffer`."""
    live_bytes: Count
    """Bytes of GPU buffers that exist now."""
    peak_bytes: Count
    """Most bytes of GPU buffers that ever existed at once."""


class TokenProbability(Closed):
    """A candidate of the logit lens or of a decoded token."""

    token_id: Count
    """The token's id in the agent's vocabulary."""
    text: str
    """The token as the agent's tokenizer writes it."""
    probability: float = Field(ge=0, le=1)
    """Probability of the token."""


class TurnSummary(Sparse):
    """What one agent did in one round."""

    round: Count
    """Counted from 0."""
    agent: Name
    """The agent's id."""
    prompt_tokens: Count
    """Tokens of its prompt; latent rows are not among them."""
    latent_steps: Count
    """Latent thoughts that it rolled out."""
    decoded_tokens: Count
    """Sampled tokens, the stop token excluded."""
    forward_positions: Count | None = None
    """Positions that the model computed: the prompt with its hand-offs, R_in of thoughts, the answer prefix, what tools
    gave, and sampled tokens. A turn's last token is not among them, because it is never fed back. Absent only in runs
    that version 0.1.0 saved."""
    kept_positions: Count | None = None
    """Those of `forward_positions`, at the beginning of the prompt, that were not computed again, because the agent had
    their keys and values from its turn before. Absent if there were none."""
    text: str
    """Text that the turn decoded; empty for a latent turn."""
    ms: Milliseconds
    """Wall time from the prompt to the last hand-off, GPU work included; reading back for the trace comes after it."""
    counters: Counters
    """What the turn added to the counters, without reading back for the trace; `live_bytes` and `peak_bytes` are the
    values at its end."""
    thoughts: Matrix | None = None
    """Its latent thoughts, (M, D), if the run kept them."""
    lens: tuple[tuple[TokenProbability, ...], ...] | None = None
    """The likeliest tokens of each latent thought, if the run kept them."""


class HandoffSummary(Sparse):
    """A hand-off, after it reached the receiver's side."""

    round: Count
    """Counted from 0."""
    edge: Name
    """The edge's id."""
    source: Name = Field(alias="from")
    """The agent that sent it."""
    target: Name = Field(alias="to")
    """The agent that receives it."""
    rows: Count
    """Rows handed over: M; 0 if the edge was switched off."""
    text: str | None = None
    """Text handed over, in text mode."""
    states: Matrix | None = None
    """R_out(R_in(H)), (M, D_target), if the run kept it."""
    similarity: float | None = Field(default=None, ge=-1, le=1)
    """The least cosine to the hand-off of the round before, over its positions, if early stopping compared them."""


class RunResult(Sparse):
    """The outcome of a run."""

    answer: str
    """What the deciding agent wrote."""
    stop_reason: StopReason
    """Why decoding ended."""
    mode: Mode
    """Mode of the run."""
    rounds: Count
    """Rounds that the run took."""
    early_stop: EarlyStop | None = None
    """Where and why the run ended before its last round; absent if it took all of its rounds."""
    latent_steps: Count
    """Latent steps of a turn."""
    decoded_tokens: Count
    """Sampled tokens of all agents, stop tokens excluded."""
    answer_token_ids: tuple[Count, ...]
    """The answer's tokens; results of tools are among them, and were not sampled."""
    total_latent_steps: Count
    """Latent steps of all agents."""
    ms: Milliseconds
    """Wall time of the whole run, without reading back for the trace."""
    turns: tuple[TurnSummary, ...]
    """All turns, in the order in which they were taken."""
    handoffs: tuple[HandoffSummary, ...]
    """All hand-offs, in the order in which they were made."""
    counters: Counters
    """What the whole run added to the counters, without reading back for the trace."""


class SavedPrompt(Sparse):
    """Other prompts for an agent, for one run."""

    agent: Name
    """The agent's id."""
    prompt: str | None = None
    """The prompt in place of the system's. Its slots must name edges that arrive at the agent."""
    first_round_prompt: str | None = Field(default_factory=lambda: None)
    """The prompt of the first round in place of the system's; null if the first round uses `prompt` too."""
    single_prompt: str | None = None
    """The prompt of the agent alone in place of the system's, in single and loop mode."""


class TraceOptions(Sparse):
    """What a run keeps for later reading. Everything is read back at the end of a turn, never inside one."""

    handoffs: bool | None = None
    """Whether hand-offs are kept: R_out(R_in(H)), (M, D_target), in float32."""
    thoughts: bool | None = None
    """Whether latent thoughts are kept: H, (M, D), in float32."""
    lens_top_k: Count | None = None
    """Logit lens: for every latent thought this many of the likeliest tokens of its own agent; 0 keeps none."""


class SearchOptions(Closed):
    """Where the search tool asks."""

    url: str
    """URL of a MediaWiki's `api.php`, such as Wikipedia's."""


class SavedOptions(Sparse):
    """The options of a run, complete: nothing is left to a default of the system."""

    question: str
    """The question, as it goes into the prompts."""
    fields: dict[ColumnName, str] | None = None
    """Other columns of the question by name, as they go into the prompts."""
    mode: Mode
    """Mode of the run."""
    rounds: int = Field(ge=1, le=MAX_ROUNDS)
    """Rounds of the run."""
    latent_steps: int = Field(ge=1, le=MAX_LATENT_STEPS)
    """Latent steps of a turn."""
    early_stopping: EarlyStopping | None = None
    """Lets the run end before its last round. Without it, a run takes all of its rounds."""
    decoding: Decoding
    """How the answer is decoded. A file names every setting that its page knew; a newer one has its default."""
    edges: tuple[Name, ...]
    """Ids of the edges that carry something; the slots of the others stay empty."""
    order: tuple[Name, ...] | None = Field(default=None, min_length=1)
    """Ids of the agents that take part, in the order in which they run; the last one decides. An edge becomes feedback
    if its receiver does not run later in the round. If absent, all agents run in the system's own order."""
    prompts: tuple[SavedPrompt, ...]
    """Prompts in place of the system's."""
    replace: dict[str, Literal["zeros"] | tuple[Matrix, ...]] | None = None
    """What arrives in place of the sender's thoughts in latent mode, by edge id, to measure what they contribute:
    zeros, or matrices (M, D_target) from another run, one for each round. The last one serves all later rounds."""
    search: SearchOptions | None = None
    """Lets the deciding agent search, besides using its own tools. Without it, a run fetches nothing."""
    trace: TraceOptions | None = None
    """What the run keeps for later reading."""


class AgentView(Sparse):
    """An agent as the page draws it."""

    id: Name
    """Unique in the system."""
    role: str
    """What people call the agent."""
    model: str | None = None
    """The checkpoint as the system names it. Absent in runs that version 0.1.0 saved."""
    architecture: str
    """The model's family."""
    hidden_size: Count
    """The hidden size D."""
    latent_steps: Count | None = None
    """Latent steps of its turns, if it has a number of its own."""


class SystemView(Closed):
    """The part of a system that the page draws."""

    name: Name
    """Name of the system."""
    pattern: Name
    """The pattern, for people."""
    agents: tuple[AgentView, ...] = Field(min_length=1, max_length=MAX_AGENTS)
    """The agents in running order."""
    edges: tuple[Edge, ...]
    """The hand-offs."""


class Origin(Closed):
    """Which files answered: two runs can be compared if it is the same for both."""

    manifest_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    """Sha256 of the system's manifest, which stands for every file that it lists; null if it is not known."""
    links: str | None
    """Name of the links that the visitor opened in place of the system's own; null if there were none."""


class _Event(Closed):
    at: Milliseconds
    """When it arrived, counted from the beginning of the run."""


class _TurnEvent(_Event):
    round: Count
    """Counted from 0."""
    agent: Name
    """The agent's id."""


class _WorkEvent(Sparse, _TurnEvent):
    forward_positions: Count | None = None
    """Positions that the turn has computed so far."""
    ms: Milliseconds
    """CPU time since the work before; nothing waits for the GPU inside a latent turn."""


class TurnStart(_TurnEvent):
    """A turn began."""

    kind: Literal["turn-start"]
    """Kind of the event."""
    prompt_tokens: Count
    """Tokens of its prompt."""
    latent_rows: Count
    """Latent rows spliced into the prompt."""


class Step(_WorkEvent):
    """A latent step was handed to the GPU."""

    kind: Literal["step"]
    """Kind of the event."""
    step: Count
    """Counted from 0."""
    of: Count
    """Steps of the turn."""


class Token(_WorkEvent):
    """A token was decoded."""

    kind: Literal["token"]
    """Kind of the event."""
    token_id: Count
    """The token's id in the agent's vocabulary."""
    text: str
    """Text that it added; the result of a tool is at its end."""
    replaces: Count | None = None
    """UTF-16 units at the end of the text before that `text` replaces, if decoding the token changed them."""
    answer: bool
    """Whether it belongs to the deciding agent's answer, not to a thought in text mode."""


class Handoff(_Event):
    """A hand-off was made."""

    kind: Literal["handoff"]
    """Kind of the event."""
    index: Count
    """Index of the hand-off in the result's `handoffs`."""


class TurnEnd(_Event):
    """A turn ended."""

    kind: Literal["turn-end"]
    """Kind of the event."""
    index: Count
    """Index of the turn in the result's `turns`."""


Event = Annotated[TurnStart | Step | Token | Handoff | TurnEnd, Field(discriminator="kind")]


class SavedRun(Sparse):
    """A saved run."""

    format: Literal["recursivemas.trace"]
    """Says what the file is."""
    version: Literal[1, 2, 3, 4, 5]
    """Version of the format."""
    system: SystemView
    """What answered."""
    origin: Origin | None = None
    """Which files answered."""
    expected: str | None = Field(...)
    """The right answer, if it is known."""
    choices: tuple[str, ...] | None = Field(...)
    """What the question offers, if it is multiple choice."""
    scoring: Scoring
    """How the answer is compared with the right one."""
    options: SavedOptions
    """What was asked."""
    events: tuple[Event, ...]
    """What happened, in order."""
    result: RunResult
    """What came out."""
