"""Where outer links start: a ridge regression towards the receiver's embeddings of the same text, or the identity.

From noise, cross-entropy of the answer alone does not find the links (docs/training-log.md). The sender's hidden states
are matched with what the receiver reads at the same place, not with the hidden states that the receiver would have
there, because agents that know different things do not think the same. Shape letters: N pairs, S the sender's hidden
size, D the receiver's.
"""

import torch
from torch import Tensor
from torch.nn import functional

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
