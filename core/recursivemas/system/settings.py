"""Settings of decoding and training, each field with its unit."""

from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field

from recursivemas.system.closed import Closed, added
from recursivemas.system.names import Complete, LinkVariant, Precision, Weights

Number = TypeVar("Number", int, float)
Own = Annotated[Number | None, BeforeValidator(lambda value: None if value == "checkpoint" else value)]
"""A number, or null for what each agent's checkpoint says; a YAML file may write `checkpoint` for null."""


class AnswerRetry(Closed):
    """What happens to an answer that is not complete: the agent goes on from its text alone, once."""

    needs: Complete = "box"
    """What a complete answer has in it: a `\\boxed{…}`, a choice, or a block of Python."""
    append: str = Field(default="\nFinal Answer: \\boxed{", min_length=1)
    """The agent reads its answer, without white space at its end, and then this text, and goes on."""
    max_new_tokens: int = Field(default=16, ge=1)
    """The most tokens that it adds."""


class Decoding(Closed):
    """How the deciding agent writes its answer (docs/recursion.md, rule 5)."""

    # The page draws a control for each field, with its title and description. `control` is the range of that control
    # if it is narrower than what the format accepts.
    max_new_tokens: int = Field(
        default=256, ge=1, title="Longest answer, in tokens", json_schema_extra={"control": {"max": 4096}}
    )
    """Decoding stops after this many tokens."""
    temperature: Own[float] = Field(default=0.0, ge=0.0, le=10.0, title="Temperature")
    """0 always takes the likeliest token. Without a number, as each agent's checkpoint says."""
    top_p: Own[float] = Field(default=1.0, gt=0.0, le=1.0, title="Top p", json_schema_extra={"control": {"min": 0.01}})
    """Samples from the likeliest tokens up to this total probability; used if the temperature is above 0. Without a
    number, as each agent's checkpoint says."""
    top_k: Own[int] = added(0, ge=0, title="Top k", json_schema_extra={"control": {"max": 1000}})
    """Samples from this many of the likeliest tokens, before top p; 0 for all. Without a number, as each agent's
    checkpoint says."""
    repetition_penalty: Own[float] = added(
        None, gt=0.0, le=10.0, title="Repetition penalty", json_schema_extra={"control": {"min": 0.1}}
    )
    """Makes tokens less likely that the answer has already; 1 does not. Without a number, as each agent's checkpoint
    says."""
    seed: int = Field(default=0, title="Seed", json_schema_extra={"control": {"min": 0, "max": 2**31 - 1}})
    """The same seed gives the same answer."""
    think_before_answer: bool = Field(default=False, title="The last agent thinks before it answers")
    """In the last round it first rolls out latent thoughts of its own."""
    answer_prefix: str = Field(default="", title="The answer begins with")
    """The agent is given this text; it does not decode it. Its answer then begins with a space, so this text should
    not end with one."""
    text_tokens: int | None = Field(
        default=None, ge=1, title="Tokens of a thought in text mode", json_schema_extra={"control": {"max": 4096}}
    )
    """As many as latent steps by default."""
    # The page takes these from the system and draws no control.
    stop_strings: tuple[Annotated[str, Field(min_length=1)], ...] = added(
        (), title="The answer ends before", json_schema_extra={"control": None}
    )
    """Decoding stops when the answer has one of these texts in it; the answer is what stands before it."""
    answer_retry: AnswerRetry | None = added(
        None, title="An incomplete answer is continued", json_schema_extra={"control": None}
    )
    """From its own text, if it lacks what a complete answer has."""
    max_tool_calls: int | None = added(None, ge=0, title="Most calls of tools", json_schema_extra={"control": None})
    """A call beyond this number ends the answer; there is no limit by default."""


class InnerLoop(Closed):
    """Inner-loop training: 1 - cos(R_in(h_t), Emb(y_{t+1})); the agent is frozen."""

    questions: int = Field(default=2048, ge=1)
    """Training questions; what the agents write about them in text mode gives the pairs."""
    temperature: float = Field(default=0.0, ge=0.0, le=10.0)
    """Temperature of that writing; 0 is greedy. Above 0 the cosine pulls R_in towards the mean of what might be
    written."""
    candidates: int = Field(default=1, ge=1)
    """Tokens that a target averages, by the agent's own probability; 1 is the token that was written. Several give the
    mean of what might be written at once, instead of by sampling."""
    text_tokens: int | None = added(None, ge=1)
    """The most tokens of a text that pairs come from; as in text mode by default, which is short. Checkpoints with real
    vocabularies begin with the same few words whatever the question, so give them 64 or more."""
    refinements: int = Field(default=0, ge=0)
    """How often pairs are collected again, from latent rollouts with the links as they are. Inner links and alignment
    then go on with all pairs."""
    refinement_steps: int = Field(default=500, ge=0)
    """Optimizer steps of every link in each refinement; outer links have none if `outer.alignment_steps` is 0."""
    refinement_questions: int | None = added(None, ge=1)
    """Training questions that latent rollouts answer for each refinement; as many as `questions` by default."""
    steps: int = Field(default=1500, ge=0)
    """Optimizer steps."""
    batch_size: int = Field(default=1024, ge=1)
    """Pairs (h_t, y_{t+1}) in a step."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Peak learning rate, after warm-up."""
    norm_weight: float = Field(default=0.3, ge=0)
    """Weight of the norm-matching term beside the cosine."""
    texts: str | None = added(None)
    """JSONL file of role texts, relative to the YAML file, that pairs come from instead of text mode."""
    pad: str = added("\n", min_length=1)
    """Text of one token that fills the hand-offs in role texts up to the latent steps."""
    finish: bool = added(False)
    """Whether the agents write the completions of the role texts themselves, instead of reading the given ones."""
    loss: Literal["cosine", "distance"] = added("cosine")
    """What an inner link minimises: `distance` is the squared distance to the next token's embedding, relative to the
    mean square of an embedding's norm."""
    start: Literal["random", "ridge"] = added("random")
    """How inner links start: `ridge` is a ridge regression from hidden states to the next token's embedding, which a
    link can hold if `inner_width` is at least twice the hidden size."""
    nearest_weight: float = added(0.0, ge=0)
    """Weight of the cross-entropy of the nearest token beside that loss: its logits are minus ten times the squared
    distances, relative as above, to the embeddings of all tokens that occur as targets."""


class OuterLoop(Closed):
    """Outer-loop training: cross-entropy of the final answer through all rounds."""

    initialisation: Literal["ridge", "random"] = "ridge"
    """How outer links start."""
    start: Literal["identity", "ridge"] = added("identity")
    """How an outer link starts between agents that have the same input embeddings, unless all links start at random. A
    thought's R_in is then such an embedding already, and the identity hands it on as it is."""
    alignment_steps: int = Field(default=1000, ge=0)
    """Optimizer steps towards the receiver's embeddings of the same text, after initialisation."""
    alignment_learning_rate: float = Field(default=3e-3, gt=0)
    """Peak learning rate of those steps."""
    steps: int = Field(default=300, ge=0)
    """Optimizer steps of cross-entropy."""
    batch_size: int = Field(default=64, ge=1)
    """Questions in a step."""
    learning_rate: float = Field(default=3e-5, gt=0)
    """Peak learning rate, after warm-up."""
    warmup_steps: int = Field(default=20, ge=0)
    """Steps of linear warm-up; cosine decay follows."""
    gradient_clip: float = Field(default=1.0, gt=0)
    """Norm to which the gradient is clipped."""
    handoff_clip: float = Field(default=1.0, ge=0)
    """Largest gradient norm of one sample's hand-off, in units of 1/batch; 0 does not clip. Backward through rounds
    multiplies gradients, and one sample must not drown the rest."""
    curriculum: bool = False
    """Whether the rounds grow from 1 to the system's over the first half of the steps."""
    rounds: tuple[Annotated[int, Field(ge=1)], ...] = added(())
    """Rounds to train through, a number for each of so many equal parts of the steps; by default the system's rounds in
    all of them. Questions that fewer rounds cannot answer are left out of those steps."""
    supervision: Literal["last", "every"] = "last"
    """Which rounds have their answer scored."""
    early_weight: float = added(0.0, ge=0)
    """Weight of the loss of each round before the last one, if only the last one is scored otherwise."""
    answerable_field: str | None = added(None)
    """The column of a question with the first round that can answer it, counted from 1; earlier rounds do not count
    for it. Without this column, every round can answer."""
    forward: Literal["rollout", "teacher_forced"] = added("rollout")
    """What is handed over in training: the thoughts of a rollout as in use, or `teacher_forced`, the hidden states at a
    reference text that the agent is made to read."""
    references: dict[str, str] = added({})
    """By agent id, the column of a question with its reference text; an agent that is not named has the answer."""
    reference_tokens: int | None = added(None, ge=1)
    """The most tokens of a reference text; as many as latent steps by default."""
    train_inner: bool = False
    """Whether inner links train too."""
    edges: tuple[str, ...] | None = added(None, min_length=1)
    """Ids of the edges whose outer links train, with `train_inner` also the inner links of their senders; all by
    default. What starts well enough is safe from a loss that other links cause."""
    gradient_accumulation: int = Field(default=1, ge=1)
    """Micro-batches in a step."""
    gradient_checkpointing: bool = False
    """Whether turns are recomputed in the backward pass, to save memory."""
    cuda_graphs: bool = added(True)
    """Whether steps are recorded as CUDA graphs and replayed, on a CUDA device and unless turns are recomputed. It is
    several times as fast for small agents. Prompts must be the same for all questions from their first slot on."""


class Training(Closed):
    """Settings of `rmas train`."""

    variant: LinkVariant = "ln_res"
    """Form of the links."""
    inner_width: int | None = Field(default=None, ge=1)
    """Hidden width of inner links; the variant's own width by default (`ln_res`: d)."""
    outer_width: int | None = Field(default=None, ge=1)
    """Hidden width of outer links; the variant's own width by default (`ln_res`: 2 d_B)."""
    precision: Precision = "auto"
    """Precision of the agents while links train; links keep float32 masters."""
    weights: Weights = added("checkpoint")
    """Weights of the agents while links train: those of the checkpoints, or `dequantised`, those that a build with the
    system's `quantization` stores."""
    seed: int = 0
    """Seed of everything random."""
    inner: InnerLoop = InnerLoop()
    """The inner loop, which trains inner links."""
    outer: OuterLoop = OuterLoop()
    """The outer loop, which trains outer links."""
