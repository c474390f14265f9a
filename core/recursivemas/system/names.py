"""Every list of names that several parts share: modes, quantizations, patterns, tools and the like.

A name is written down here and nowhere else. `make generate` takes these tables to web/src/formats/generated/names.ts
and into the documentation. Each list has a type, which the formats use, and a table with what people read about it.
"""

from typing import Literal

from recursivemas.system.closed import Closed

Mode = Literal["latent", "text", "loop", "single"]
Pattern = Literal["sequential", "mixture", "distillation", "deliberation", "graph"]
Quantization = Literal["q0f32", "q0f16", "q4f32_1", "q4f16_1"]
Dtype = Literal["float32", "float16"]
Precision = Literal["auto", "float32", "bfloat16"]
Weights = Literal["checkpoint", "dequantised"]
Device = Literal["auto", "cpu", "cuda"]
Scoring = Literal["exact", "contains", "numeric", "any_number", "choice", "math"]
Tool = Literal["calculator", "python", "search"]
StopRule = Literal["checkpoint", "eos_token"]
Complete = Literal["box", "choice", "code"]
StopReason = Literal["stop-token", "stop-string", "max-new-tokens", "max-tool-calls", "context-full"]
LinkVariant = Literal["paper", "ln_res", "normed"]
Activation = Literal["gelu", "gelu_tanh"]
Size = Literal["source", "target", "width"]
FileRole = Literal["manifest", "bill_of_materials", "index", "configuration", "weights", "tokenizer", "shared_links"]
HubTag = Literal["recursivemas", "recursivemas-links"]

MAX_AGENTS = 64
MAX_ROUNDS = 64
MAX_LATENT_STEPS = 1024
ABI_VERSION = 1
"""Of the functions of a model library (docs/abi.md)."""


class NameInfo(Closed):
    """What people read about a name."""

    name: str
    label: str
    """What the page calls it."""
    description: str
    """One sentence."""


class ModeInfo(NameInfo):
    """A way to answer a question with a system."""

    name: Mode
    rounds: bool
    """Whether the number of rounds and of latent steps matters."""
    handoffs: bool
    """Whether agents hand anything over."""
    writes: bool
    """Whether agents write their thoughts as text."""


class PatternInfo(NameInfo):
    """A graph that has a name."""

    name: Pattern


class QuantizationInfo(NameInfo):
    """How weights are stored and in which dtype a model computes."""

    name: Quantization
    dtype: Dtype
    """The dtype of activations and of weights that are not packed; float16 needs WebGPU's `shader-f16`."""
    grouped: bool
    """Whether matrices are packed into 4-bit groups of 32."""


class ScoringInfo(NameInfo):
    """A way to compare an answer with the right one."""

    name: Scoring
    complete: bool = True
    """Whether the page compares as `rmas eval` does; if not, it only recognises some right answers."""


class ToolInfo(NameInfo):
    """A tool that the deciding agent may call while it decodes."""

    name: Tool
    consent: bool
    """Whether it sends text to another server, so that it needs the visitor's permission."""
    browser: bool
    """Whether the page has it."""


class StopReasonInfo(NameInfo):
    """Why decoding ended."""

    name: StopReason


class LinkTensor(Closed):
    """A tensor of a link."""

    name: str
    shape: tuple[Size, ...]
    """By the link's sizes: source S, target D_target and width R."""
    optional: bool = False
    """Whether a file may leave it out; it is zeros then."""


class LinkVariantInfo(NameInfo):
    """A form of links, with its tensors in the order in which compiled functions take them."""

    name: LinkVariant
    activation: Activation
    """The one that compiled libraries compute."""
    inner: tuple[LinkTensor, ...]
    outer: tuple[LinkTensor, ...]


class ActivationInfo(NameInfo):
    """The nonlinear function of a link."""

    name: Activation


class FileRoleInfo(NameInfo):
    """A file that is found by its name."""

    name: FileRole
    file: str
    """The name of the file."""


class HubTagInfo(NameInfo):
    """A tag by which repositories on the Hugging Face Hub are found."""

    name: HubTag


MODES = (
    ModeInfo(
        name="latent",
        label="Latent",
        description="Agents hand over thoughts, never words; only the last one writes.",
        rounds=True,
        handoffs=True,
        writes=False,
    ),
    ModeInfo(
        name="text",
        label="Text",
        description="The same agents and rounds, but they write to each other.",
        rounds=True,
        handoffs=True,
        writes=True,
    ),
    ModeInfo(
        name="loop",
        label="Loop",
        description="The last agent alone, thinking as many steps as all agents together.",
        rounds=True,
        handoffs=False,
        writes=False,
    ),
    ModeInfo(
        name="single",
        label="Single",
        description="The last agent alone, answering at once.",
        rounds=False,
        handoffs=False,
        writes=False,
    ),
)

PATTERNS = (
    PatternInfo(
        name="sequential",
        label="Sequential",
        description="Each agent hands over to the next, and the last one to the first in the next round.",
    ),
    PatternInfo(
        name="mixture",
        label="Mixture",
        description="Experts hand over to a summarizer, which answers and hands back to them in the next round.",
    ),
    PatternInfo(
        name="distillation",
        label="Distillation",
        description="A large agent and a small one: the large one hands over, the small one answers and hands back.",
    ),
    PatternInfo(
        name="deliberation",
        label="Deliberation",
        description="Two agents reflect in turn; the second may use tools, answers and hands back.",
    ),
    PatternInfo(name="graph", label="Graph", description="Any other graph; its edges are listed."),
)

QUANTIZATIONS = (
    QuantizationInfo(
        name="q0f32", label="float32", description="float32, not quantized", dtype="float32", grouped=False
    ),
    QuantizationInfo(
        name="q0f16", label="float16", description="float16, not quantized", dtype="float16", grouped=False
    ),
    QuantizationInfo(
        name="q4f32_1",
        label="4-bit, float32",
        description="4-bit groups of 32, float32 activations",
        dtype="float32",
        grouped=True,
    ),
    QuantizationInfo(
        name="q4f16_1",
        label="4-bit, float16",
        description="4-bit groups of 32, float16 activations (needs the WebGPU feature `shader-f16`)",
        dtype="float16",
        grouped=True,
    ),
)

SCORINGS = (
    ScoringInfo(name="exact", label="Exact", description="The text is the same, apart from case and punctuation."),
    ScoringInfo(
        name="contains",
        label="Contains",
        description="The answer contains the right one, apart from case, as whole words.",
    ),
    ScoringInfo(name="numeric", label="Numeric", description="The last number of the answer is the right one."),
    ScoringInfo(name="any_number", label="Any number", description="The right number is anywhere in the answer."),
    ScoringInfo(
        name="choice", label="Choice", description="The answer names the right choice, by its letter, place or text."
    ),
    ScoringInfo(
        name="math",
        label="Mathematics",
        description="The answer is the same expression; the page only recognises the same number or text.",
        complete=False,
    ),
)

TOOLS = (
    ToolInfo(
        name="calculator",
        label="Calculator",
        description="Computes an arithmetic expression.",
        consent=False,
        browser=True,
    ),
    ToolInfo(
        name="python",
        label="Python",
        description="Runs a program in a limited process and reads what it prints; only the reference has it.",
        consent=False,
        browser=False,
    ),
    ToolInfo(
        name="search",
        label="Search",
        description="Reads the opening sentences of an encyclopedia's best match; in the reference, asks a command.",
        consent=True,
        browser=True,
    ),
)

STOP_REASONS = (
    StopReasonInfo(name="stop-token", label="Stop token", description="The agent ended its answer."),
    StopReasonInfo(
        name="stop-string", label="Stop string", description="The answer reached a text that the system stops at."
    ),
    StopReasonInfo(
        name="max-new-tokens", label="Longest answer", description="The answer reached its largest number of tokens."
    ),
    StopReasonInfo(
        name="max-tool-calls", label="Most calls of tools", description="A call beyond the limit ended the answer."
    ),
    StopReasonInfo(name="context-full", label="Context full", description="The agent's context window is full."),
)

_W1 = LinkTensor(name="w1", shape=("width", "source"))
_B1 = LinkTensor(name="b1", shape=("width",))
_W2 = LinkTensor(name="w2", shape=("target", "width"))
_B2 = LinkTensor(name="b2", shape=("target",))
_W3 = LinkTensor(name="w3", shape=("target", "source"))
_B3 = LinkTensor(name="b3", shape=("target",))
_SCALE = LinkTensor(name="scale", shape=("target",))


def _optional(tensor: LinkTensor) -> LinkTensor:
    return tensor.model_copy(update={"optional": True})


def _layer_norm(name: str, size: Size) -> tuple[LinkTensor, LinkTensor]:
    return LinkTensor(name=f"{name}.weight", shape=(size,)), LinkTensor(name=f"{name}.bias", shape=(size,))


LINK_VARIANTS = (
    LinkVariantInfo(
        name="paper",
        label="Paper",
        description="As the paper prints it: two matrices, GELU and a residual path.",
        activation="gelu",
        inner=(_W1, _optional(_B1), _W2, _optional(_B2)),
        outer=(_W1, _optional(_B1), _W2, _optional(_B2), _W3, _optional(_B3)),
    ),
    LinkVariantInfo(
        name="ln_res",
        label="Layer norm",
        description="As the paper's authors released it: a layer norm before and after.",
        activation="gelu",
        inner=(*_layer_norm("ln_pre", "source"), _W1, _B1, _W2, _B2, *_layer_norm("ln_post", "target")),
        outer=(*_layer_norm("ln_source", "source"), _W1, _B1, _W2, _B2, _W3, _B3, *_layer_norm("ln_target", "target")),
    ),
    LinkVariantInfo(
        name="normed",
        label="Unit length",
        description="As recursiveMASWebLLM trains it: the input is divided by its length; inner links have a scale.",
        activation="gelu_tanh",
        inner=(_W1, _optional(_B1), _W2, _optional(_B2), _SCALE),
        outer=(_W1, _optional(_B1), _W2, _optional(_B2), _W3, _optional(_B3)),
    ),
)

MIN_LENGTH = 1e-6
"""What a `normed` link adds to the length of its input before it divides by it."""

ACTIVATIONS = (
    ActivationInfo(name="gelu", label="GELU", description="The exact form, with erf."),
    ActivationInfo(name="gelu_tanh", label="GELU, tanh", description="The approximation with tanh."),
)

FILES = (
    FileRoleInfo(name="manifest", label="Manifest", file="system.json", description="Lists every other file."),
    FileRoleInfo(
        name="bill_of_materials",
        label="Bill of materials",
        file="sbom.cdx.json",
        description="What the system was made of, in CycloneDX 1.6.",
    ),
    FileRoleInfo(
        name="index", label="Index of systems", file="index.json", description="The systems that lie beside a page."
    ),
    FileRoleInfo(
        name="configuration",
        label="Configuration",
        file="mlc-chat-config.json",
        description="An agent's configuration in MLC's form; ours is under the key \"recursivemas\".",
    ),
    FileRoleInfo(
        name="weights",
        label="Index of weights",
        file="tensor-cache.json",
        description="Where each tensor lies in the shards.",
    ),
    FileRoleInfo(
        name="tokenizer", label="Tokenizer", file="tokenizer.json", description="An agent's tokenizer, as on the Hub."
    ),
    FileRoleInfo(
        name="shared_links",
        label="Record of shared links",
        file="shared-links.json",
        description="Which agents the links of a repository fit, and what was measured with them.",
    ),
)

HUB_TAGS = (
    HubTagInfo(name="recursivemas", label="System", description="A repository of a built system."),
    HubTagInfo(
        name="recursivemas-links", label="Shared links", description="A repository of trained links without agents."
    ),
)
