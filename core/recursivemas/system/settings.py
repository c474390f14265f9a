"""Settings of decoding and training, each field with its unit."""

from typing import Annotated, Literal

from pydantic import Field

from recursivemas.system.closed import Closed, added
from recursivemas.system.names import LinkVariant, Precision, Weights


class Decoding(Closed):
    """How the deciding agent writes its answer (docs/recursion.md, rule 5)."""

    # The page draws a control for each field, with its title and description. `control` is the range of that control
    # if it is narrower than what the format accepts.
    max_new_tokens: int = Field(
        default=256, ge=1, title="Longest answer, in tokens", json_schema_extra={"control": {"max": 4096}}
    )
    """Decoding stops after this many tokens."""
    temperature: float = Field(default=0.0, ge=0.0, le=10.0, title="Temperature")
    """0 always takes the likeliest token."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0, title="Top p", json_schema_extra={"control": {"min": 0.01}})
    """Samples from the likeliest tokens up to this total probability; used if the temperature is above 0."""
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
    """Optimizer steps of every link in each refinement."""
    steps: int = Field(default=1500, ge=0)
    """Optimizer steps."""
    batch_size: int = Field(default=1024, ge=1)
    """Pairs (h_t, y_{t+1}) in a step."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Peak learning rate, after warm-up."""
    norm_weight: float = Field(default=0.3, ge=0)
    """Weight of the norm-matching term beside the cosine."""


class OuterLoop(Closed):
    """Outer-loop training: cross-entropy of the final answer through all rounds."""

    initialisation: Literal["ridge", "random"] = "ridge"
    """How outer links start."""
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
    supervision: Literal["last", "every"] = "last"
    """Which rounds have their answer scored."""
    train_inner: bool = False
    """Whether inner links train too."""
    gradient_accumulation: int = Field(default=1, ge=1)
    """Micro-batches in a step."""
    gradient_checkpointing: bool = False
    """Whether turns are recomputed in the backward pass, to save memory."""


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
