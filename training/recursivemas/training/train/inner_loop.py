"""Inner loop: an agent's inner link learns to turn its hidden state into the next input embedding.

Source: arXiv 2604.25917, inner loop: 1 - cos(R_in(h_t), Emb(y_{t+1})), agent frozen. Deviations: a weighted term that
matches norms, because with the cosine alone the norm can drift away from an embedding's; or the squared distance
instead; and on request the cross-entropy of the nearest token. Shape letters: N pairs, D hidden size, V vocabulary, U
tokens that occur as targets.
"""

import torch
from torch import Tensor
from torch.nn import functional

from recursivemas.system.settings import InnerLoop
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.links import InnerLink
from recursivemas.training.train.pairs import Pairs, mean_embedding

CHECKED = 2048
SHARPNESS = 10.0
"""Minus this times a squared distance, relative to the mean square of an embedding's norm, is a token's logit."""


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


class InnerObjective:
    """The loss of one agent's inner link, by its settings.

    Args:
        agent: The agent.
        pairs: Those that are trained on.
        settings: Which loss, and its weights.
    """

    def __init__(self, agent: LoadedAgent, pairs: Pairs, settings: InnerLoop) -> None:
        self.agent, self.pairs, self.settings = agent, pairs, settings
        if settings.loss == "distance" or settings.nearest_weight:
            self.square = float(agent.embedding_table.float().square().sum(1).mean())
        if settings.nearest_weight:
            ids, places = torch.unique(pairs.targets[:, 0], return_inverse=True)  # (U,) and (N,) indices of them
            self.places, self.candidates = places, agent.embed(ids).float()  # (N,), (U, D)

    def __call__(self, predicted: Tensor, chosen: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Loss of R_in (n, D) of the pairs with these indices (n,), and figures for the log."""
        wanted = mean_embedding(self.agent, self.pairs.targets[chosen], self.pairs.weights[chosen])
        loss, figures = embedding_loss(predicted, wanted, self.settings.norm_weight)
        if self.settings.loss == "distance":
            loss = (predicted - wanted).square().sum(-1).mean() / self.square
            figures |= {"distance": loss.item()}
        if self.settings.nearest_weight:
            squares = torch.cdist(predicted, self.candidates).square()  # (n, U)
            places = self.places[chosen]
            entropy = functional.cross_entropy(squares * (-SHARPNESS / self.square), places)
            found = (squares.argmin(1) == places).float().mean()
            loss = loss + self.settings.nearest_weight * entropy
            figures |= {"nearest_cross_entropy": entropy.item(), "nearest_token": found.item()}
        return loss, figures


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
