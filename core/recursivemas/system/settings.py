"""Decoding and training settings, each field with its unit."""

from typing import Literal

from pydantic import Field

from recursivemas.system.closed import Closed


class Decoding(Closed):
    """How the deciding agent writes its answer (docs/recursion.md, rule 5).

    Attributes:
        max_new_tokens: Most tokens of an answer.
        temperature: 0 decodes greedily.
        top_p: Nucleus, used when temperature is above 0.
        seed: Of the sampler.
        think_before_answer: Whether the deciding agent rolls out its own latent thoughts first in the last round.
        answer_prefix: Text that opens the answer; it is fed, not decoded.
        text_tokens: Tokens a turn may write in text mode; `latent_steps` when absent.
    """

    max_new_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=0.0, ge=0.0, le=10.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    seed: int = 0
    think_before_answer: bool = False
    answer_prefix: str = ""
    text_tokens: int | None = Field(default=None, ge=1)


class InnerLoop(Closed):
    """Inner-loop training: 1 - cos(R_in(h_t), Emb(y_{t+1})), agent frozen.

    Attributes:
        questions: Training questions; what the agents write about them in text mode gives the pairs.
        temperature: Of that writing; 0 is greedy. Above 0 the cosine pulls R_in towards the mean of what might be
            written.
        candidates: Tokens that a target averages, by the agent's own probability; 1 is the token that was written.
            Several give the mean of what might be written at once, instead of by sampling.
        refinements: Times that pairs are collected once more, from latent rollouts with the links as they are, and
            inner links and alignment go on with all pairs.
        refinement_steps: Optimizer steps of every link each time.
        steps: Optimizer steps.
        batch_size: Pairs (h_t, y_{t+1}) a step.
        learning_rate: Peak, after warm-up.
        norm_weight: Weight of the norm-matching term beside the cosine.
    """

    questions: int = Field(default=2048, ge=1)
    temperature: float = Field(default=0.0, ge=0.0, le=10.0)
    candidates: int = Field(default=1, ge=1)
    refinements: int = Field(default=0, ge=0)
    refinement_steps: int = Field(default=500, ge=0)
    steps: int = Field(default=1500, ge=0)
    batch_size: int = Field(default=1024, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    norm_weight: float = Field(default=0.3, ge=0)


class OuterLoop(Closed):
    """Outer-loop training: cross-entropy of the final answer through all rounds.

    Attributes:
        initialisation: Where outer links start.
        alignment_steps: Optimizer steps towards the receiver's embeddings of the same text, after initialisation.
        alignment_learning_rate: Peak, of those steps.
        steps: Optimizer steps of cross-entropy.
        batch_size: Questions a step.
        learning_rate: Peak, after warm-up.
        warmup_steps: Linear warm-up; cosine decay follows.
        gradient_clip: Norm to which the gradient is clipped.
        handoff_clip: Largest gradient norm of one sample's hand-off, in units of 1/batch; 0 does not clip. Backward
            through rounds multiplies gradients, and one sample must not drown the rest.
        curriculum: Grow the rounds from 1 to the system's over the first half of the steps.
        supervision: Rounds whose answer is scored.
        train_inner: Whether inner links train too.
        gradient_accumulation: Micro-batches a step.
        gradient_checkpointing: Recompute turns in the backward pass to save memory.
    """

    initialisation: Literal["ridge", "random"] = "ridge"
    alignment_steps: int = Field(default=1000, ge=0)
    alignment_learning_rate: float = Field(default=3e-3, gt=0)
    steps: int = Field(default=300, ge=0)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=3e-5, gt=0)
    warmup_steps: int = Field(default=20, ge=0)
    gradient_clip: float = Field(default=1.0, gt=0)
    handoff_clip: float = Field(default=1.0, ge=0)
    curriculum: bool = False
    supervision: Literal["last", "every"] = "last"
    train_inner: bool = False
    gradient_accumulation: int = Field(default=1, ge=1)
    gradient_checkpointing: bool = False


class Training(Closed):
    """Settings of `rmas train`.

    Attributes:
        variant: Form of the links.
        inner_width: Hidden width of inner links; the variant's own width when absent (`ln_res`: d).
        outer_width: Hidden width of outer links; the variant's own width when absent (`ln_res`: 2 d_B).
        precision: Of the agents while training; links keep float32 masters.
        seed: Of everything random.
    """

    variant: Literal["paper", "ln_res"] = "ln_res"
    inner_width: int | None = Field(default=None, ge=1)
    outer_width: int | None = Field(default=None, ge=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 0
    inner: InnerLoop = InnerLoop()
    outer: OuterLoop = OuterLoop()
