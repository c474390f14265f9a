"""RecursiveLinks as PyTorch modules: inner and outer, every variant.

Source: arXiv 2604.25917, the inner and outer RecursiveLink. The names of parameters are those of tensors in link files
(docs/abi.md). Links compute in float32 whatever the agents compute in. Shape letters: D hidden size, S the sender's
hidden size, R the link's width.
"""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from recursivemas.system.links_file import Link, LinkFile, TensorRecord, link_form
from recursivemas.system.names import MIN_LENGTH, Activation, LinkVariant


class _LinkBase(nn.Module):
    """What both links share: the bottleneck W2·GELU(W1·x)."""

    def __init__(
        self, source_size: int, target_size: int, width: int, variant: LinkVariant, activation: Activation, bias: bool
    ) -> None:
        super().__init__()
        self.source_size, self.target_size, self.width, self.variant = source_size, target_size, width, variant
        self.approximate = "tanh" if activation == "gelu_tanh" else "none"
        self.w1 = nn.Parameter(torch.empty(width, source_size))
        self.w2 = nn.Parameter(torch.empty(target_size, width))
        self.b1 = nn.Parameter(torch.zeros(width)) if bias else None
        self.b2 = nn.Parameter(torch.zeros(target_size)) if bias else None
        nn.init.normal_(self.w1, std=source_size**-0.5)
        nn.init.normal_(self.w2, std=width**-0.5)

    def scale_output(self, gain: float) -> None:
        """Makes the link's output that large, root mean square, if its variant has a parameter for it."""
        for name, module in self.named_children():
            if name in ("ln_post", "ln_target"):
                module.get_parameter("weight").fill_(gain)

    def load(self, link: Link) -> Self:
        """Takes a link's tensors; a bias that the file leaves out stays absent, so that a round trip is exact."""
        for name, _ in list(self.named_parameters(recurse=False)):
            if name not in link.tensors:
                setattr(self, name, None)
        self.load_state_dict({name: torch.tensor(record.array()).float() for name, record in link.tensors.items()})
        return self

    def record(self) -> Link:
        """The link as it stands in a file, in float32."""
        arrays = {name: tensor.detach().cpu().float().numpy() for name, tensor in self.state_dict().items()}
        tensors = {name: TensorRecord.from_array(array) for name, array in arrays.items()}
        return Link(source_size=self.source_size, target_size=self.target_size, width=self.width, tensors=tensors)

    def read(self, x: Tensor) -> Tensor:
        """What the straight path gets, (..., source_size): x, which `normed` divides by its length."""
        return x / (x.norm(dim=-1, keepdim=True) + MIN_LENGTH) if self.variant == "normed" else x

    def bottleneck(self, x: Tensor) -> Tensor:
        """W2·GELU(W1·x), (..., source_size) to (..., target_size)."""
        hidden = functional.gelu(functional.linear(x, self.w1, self.b1), approximate=self.approximate)
        return functional.linear(hidden, self.w2, self.b2)


class InnerLink(_LinkBase):
    """R_in: maps an agent's last hidden state to its own next input embedding.

    `paper`: h + W2·GELU(W1·h). `ln_res`: LN_post(h + W2·GELU(W1·LN_pre(h))). `normed`, with n = h / |h|:
    scale·(n + W2·GELU(W1·n)).
    """

    def __init__(
        self,
        size: int,
        width: int,
        variant: LinkVariant = "ln_res",
        activation: Activation = "gelu",
        eps: float = 1e-5,
        bias: bool = True,
    ) -> None:
        super().__init__(size, size, width, variant, activation, bias)
        if variant == "ln_res":
            self.ln_pre, self.ln_post = nn.LayerNorm(size, eps), nn.LayerNorm(size, eps)
        if variant == "normed":
            self.scale = nn.Parameter(torch.ones(size))

    def scale_output(self, gain: float) -> None:
        """As for every link; `normed` multiplies a vector of length 1."""
        super().scale_output(gain)
        if self.variant == "normed":
            self.scale.fill_(gain * self.source_size**0.5)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) of any float dtype to (..., D) float32."""
        hidden = self.read(hidden.float())
        if self.variant == "normed":
            return self.scale * (hidden + self.bottleneck(hidden))
        if self.variant == "paper":
            return hidden + self.bottleneck(hidden)
        result: Tensor = self.ln_post(hidden + self.bottleneck(self.ln_pre(hidden)))
        return result


class OuterLink(_LinkBase):
    """R_out: maps a sender's thoughts to the receiver's input embeddings.

    `paper`: W3·h + W2·GELU(W1·h); `normed` computes the same of h / |h|.
    `ln_res`: LN_target(W3·h + W2·GELU(W1·LN_source(h))).
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        width: int,
        variant: LinkVariant = "ln_res",
        activation: Activation = "gelu",
        eps: float = 1e-5,
        bias: bool = True,
    ) -> None:
        super().__init__(source_size, target_size, width, variant, activation, bias)
        self.w3 = nn.Parameter(torch.empty(target_size, source_size))
        self.b3 = nn.Parameter(torch.zeros(target_size)) if bias else None
        nn.init.normal_(self.w3, std=source_size**-0.5)
        if variant == "ln_res":
            self.ln_source, self.ln_target = nn.LayerNorm(source_size, eps), nn.LayerNorm(target_size, eps)

    def forward(self, thoughts: Tensor) -> Tensor:
        """(..., S) of any float dtype to (..., D_target) float32."""
        thoughts = self.read(thoughts.float())
        straight = functional.linear(thoughts, self.w3, self.b3)  # (..., D_target)
        if self.variant != "ln_res":
            return straight + self.bottleneck(thoughts)
        result: Tensor = self.ln_target(straight + self.bottleneck(self.ln_source(thoughts)))
        return result


class Links(nn.Module):
    """All links of a system.

    Attributes:
        inner: By agent id.
        outer: By edge id.
        variant: Form of every link.
        activation: GELU form of every link.
        eps: Layer-norm epsilon of the `ln_res` variant.
    """

    def __init__(
        self,
        inner: Mapping[str, InnerLink],
        outer: Mapping[str, OuterLink],
        variant: LinkVariant,
        activation: Activation = "gelu",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.variant, self.activation, self.eps = variant, activation, eps
        # ModuleDict refuses '.' in keys, which agent and edge ids may hold, so the names are kept beside the modules.
        self.inner = dict(inner)
        self.outer = dict(outer)
        self._inner_modules = nn.ModuleList(self.inner.values())
        self._outer_modules = nn.ModuleList(self.outer.values())

    @classmethod
    def create(
        cls,
        hidden_sizes: Mapping[str, int],
        edges: Mapping[str, tuple[str, str]],
        variant: LinkVariant = "ln_res",
        inner_width: int | None = None,
        outer_width: int | None = None,
    ) -> "Links":
        """Randomly initialised links.

        Args:
            hidden_sizes: Hidden size by agent id.
            edges: (from, to) by edge id.
            variant: Form of the links.
            inner_width: R of inner links; D by default.
            outer_width: R of outer links; 2·D_target by default.
        """
        form = (variant, link_form(variant).activation)
        inner = {agent: InnerLink(size, inner_width or size, *form) for agent, size in hidden_sizes.items()}
        outer = {
            edge: OuterLink(hidden_sizes[a], hidden_sizes[b], outer_width or 2 * hidden_sizes[b], *form)
            for edge, (a, b) in edges.items()
        }
        return cls(inner, outer, *form)

    def to_file(self, system: str, provenance: dict[str, Any]) -> LinkFile:
        """The links as a `recursivelink.json` in float32."""
        return LinkFile(
            system=system,
            variant=self.variant,
            activation=self.activation,
            layer_norm_eps=self.eps,
            inner={agent: link.record() for agent, link in self.inner.items()},
            outer={edge: link.record() for edge, link in self.outer.items()},
            provenance=provenance,
        )

    @classmethod
    def from_file(cls, file: LinkFile) -> "Links":
        """Links with a file's tensors, as float32."""
        form = (file.variant, file.activation, file.layer_norm_eps)
        inner = {key: InnerLink(link.source_size, link.width, *form).load(link) for key, link in file.inner.items()}
        outer = {
            key: OuterLink(link.source_size, link.target_size, link.width, *form).load(link)
            for key, link in file.outer.items()
        }
        return cls(inner, outer, *form)
