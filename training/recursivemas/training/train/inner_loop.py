"""Inner loop: an agent's inner link learns to turn its hidden state into the next input embedding.

Source: arXiv 2604.25917, inner loop: 1 - cos(R_in(h_t), Emb(y_{t+1})), agent frozen. Deviation: a weighted term that
matches norms, because with the cosine alone the norm can drift away from an embedding's. Shape letters: N pairs, D
hidden size, V vocabulary.
"""

import torch
from torch import Tensor
from torch.nn import functional

from recursivemas.training.agents import LoadedAgent
from recursivemas.training.links import InnerLink
from recursivemas.training.train.pairs import Pairs, mean_embedding

CHECKED = 2048


def embedding_scale(agent: LoadedAgent) -> float:
    """Mean norm of an agent's input embeddings over √d: a layer norm with this gain makes vectors of that norm."""
    table = agent.embedding_table.float()
    return float(table.norm(dim=1).mean() / table.shape[1] ** 0.5)


@torch.no_grad()
def start_inner(link: InnerLink, agent: LoadedAgent) -> None:
    """Gives the link's output the agent's embedding scale and makes the bottleneck's part of it small."""
    link.scale_output(embedding_scale(agent))
    link.w2.mul_(0.1)


def embedding_loss(predicted: Tensor, wanted: Tensor, norm_weight: float) -> tuple[Tensor, dict[str, float]]:
    """1 - cos, and `norm_weight` times the squared relative error of the norm.

    Args:
        predicted: (N, D).
        wanted: (N, D) input embeddings.
        norm_weight: 0 gives the paper's loss.

    Returns:
        The loss, and figures: mean cosine, mean ratio of norms.
    """
    cosine = functional.cosine_similarity(predicted, wanted, dim=-1).mean()
    ratio = predicted.norm(dim=-1) / wanted.norm(dim=-1).clamp(min=1e-6)
    loss = 1 - cosine + norm_weight * (ratio - 1).square().mean()
    return loss, {"cosine": cosine.item(), "norm_ratio": ratio.mean().item()}


@torch.no_grad()
def held_out_figures(link: InnerLink, agent: LoadedAgent, pairs: Pairs) -> dict[str, float]:
    """How well a link does on pairs that it was not trained on; nothing if there are none.

    Returns:
        The mean cosine with the wanted embeddings, and the share of pairs whose R_in(h_t) is nearest, by cosine, to the
        embedding of y_{t+1}; of the first `CHECKED` pairs.
    """
    hidden, targets, weights = pairs.hidden[:CHECKED], pairs.targets[:CHECKED], pairs.weights[:CHECKED]
    if len(targets) == 0:
        return {}
    predicted = functional.normalize(link(hidden), dim=-1)  # (N, D)
    table = functional.normalize(agent.embedding_table.float(), dim=-1)  # (V, D)
    nearest = ((predicted @ table.T).argmax(-1) == targets[:, 0]).float().mean()
    cosine = functional.cosine_similarity(predicted, mean_embedding(agent, targets, weights), dim=-1).mean()
    return {"held_out_cosine": float(cosine), "nearest_token_accuracy": float(nearest)}
