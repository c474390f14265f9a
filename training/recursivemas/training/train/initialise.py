"""Where links start: a ridge regression towards the embeddings that are read next, or the identity.

From noise, cross-entropy of the answer alone does not find the links (docs/training-log.md). The sender's hidden states
are matched with what the receiver reads at the same place, not with the hidden states that the receiver would have
there, because agents that know different things do not think the same. Shape letters: N pairs, S the sender's hidden
size, D the receiver's.
"""

import torch
from torch import Tensor
from torch.nn import functional

from recursivemas.system.errors import InputError
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.links import InnerLink, OuterLink
from recursivemas.training.train.inner_loop import embedding_scale
from recursivemas.training.train.pairs import Pairs, mean_embedding


def ridge(inputs: Tensor, wanted: Tensor, penalty: float = 1e-2) -> tuple[Tensor, Tensor]:
    """Affine least squares with a penalty on the weights.

    Args:
        inputs: (N, S).
        wanted: (N, D).
        penalty: Relative to the mean variance of the inputs.

    Returns:
        W (D, S) and b (D,), so that inputs @ W.T + b is near `wanted`; float64 inside.
    """
    x, y = inputs.double(), wanted.double()
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    gram = x.T @ x  # (S, S)
    gram += penalty * gram.diagonal().mean() * torch.eye(gram.shape[0], dtype=gram.dtype, device=gram.device)
    weight = torch.linalg.solve(gram, x.T @ y).T  # (D, S)
    return weight.float(), (y_mean - weight @ x_mean).float()


@torch.no_grad()
def start_inner_from_ridge(link: InnerLink, agent: LoadedAgent, pairs: Pairs) -> float:
    """Makes an inner link a ridge regression from hidden states to the next token's embedding.

    GELU(z) - GELU(-z) = z, so that two units together pass on one number, and units for each of them hold a linear map.
    It has to take away the link's straight path, too.

    Args:
        link: Its output has the agent's embedding scale.
        agent: The agent.
        pairs: Its training pairs.

    Returns:
        Mean cosine between the link's output and the embeddings.

    Raises:
        InputError: When the link is narrower than twice its size.
    """
    size, width = link.w1.shape[1], link.w1.shape[0]
    if width < 2 * size:
        raise InputError(
            f"training.inner.start: 'ridge' needs an inner_width of at least twice the hidden size, {2 * size} for "
            f"agent {agent.agent.id!r}; got {width}"
        )
    wanted = mean_embedding(agent, pairs.targets, pairs.weights)  # (N, D)
    hidden = link.read(pairs.hidden.float())  # (N, D)
    read = link.ln_pre(hidden) if link.variant == "ln_res" else hidden
    # Where the output is normed, the length before that is free: that of the straight path disturbs least.
    length = hidden.norm(dim=1).mean() / wanted.norm(dim=1).mean() if link.variant == "ln_res" else 1.0
    if link.variant == "normed":
        length = 1.0 / link.scale
    weight, bias = ridge(read, wanted * length)
    # What the straight path adds is nearly linear in what the units read, and is taken away without a penalty.
    straight, straight_bias = ridge(read, hidden, penalty=1e-9)
    weight, bias = weight - straight, bias - straight_bias
    link.w2.zero_()
    identity = torch.eye(size, device=link.w1.device)
    for matrix, parts in ((link.w1, (identity, -identity)), (link.w2.T, (weight.T, -weight.T))):
        matrix[: 2 * size].copy_(torch.cat(parts))
    if link.b1 is not None and link.b2 is not None:
        link.b1[: 2 * size].zero_()
        link.b2.copy_(bias)
    return float(functional.cosine_similarity(link(pairs.hidden), wanted, dim=-1).mean())


@torch.no_grad()
def matched_thoughts(pairs: Pairs, inner: InnerLink, receiver: LoadedAgent) -> tuple[Tensor, Tensor]:
    """A sender's thoughts at places where the receiver reads a token, and the receiver's embeddings of these tokens.

    Args:
        pairs: Of the sender.
        inner: The sender's inner link.
        receiver: The agent that reads.

    Returns:
        R_in of the sender (N, S) and the receiver's embeddings (N, D), averaged if there are several candidates.
    """
    tokens = pairs.received[receiver.agent.id]  # (N, K)
    found = (tokens >= 0).any(1)
    return inner(pairs.hidden[found]), mean_embedding(receiver, tokens[found], pairs.weights[found])


def share_embeddings(sender: LoadedAgent, receiver: LoadedAgent) -> bool:
    """Whether two agents read the same embeddings for the same tokens, as adapters of one checkpoint do."""
    if sender.model is receiver.model:
        return True
    one, other = sender.embedding_table, receiver.embedding_table
    return one.shape == other.shape and torch.equal(one, other)


@torch.no_grad()
def start_outer(link: OuterLink, receiver: LoadedAgent, thoughts: Tensor, wanted: Tensor, method: str) -> float:
    """Sets an outer link to its starting point.

    Args:
        link: Changed in place.
        receiver: The link's output gets its embedding scale.
        thoughts: (N, S) R_in of the sender's hidden states.
        wanted: (N, D) the receiver's embeddings at the same places.
        method: `ridge`; `identity`, for agents that have the same embeddings; or `random` to leave W3 as it is.

    Returns:
        Mean cosine between the link's output and the receiver's embeddings.
    """
    link.scale_output(embedding_scale(receiver))
    if method == "identity":
        size = len(link.w3)
        length = embedding_scale(receiver) * size**0.5 if link.variant == "normed" else 1.0
        link.w2.zero_()
        link.w3.copy_(torch.eye(size) * length)
    elif method == "ridge":
        link.w2.mul_(0.01)
        weight, bias = ridge(link.read(thoughts), wanted)
        link.w3.copy_(weight)
        if link.b3 is not None:
            link.b3.copy_(bias)
    return float(functional.cosine_similarity(link(thoughts), wanted, dim=-1).mean())
