/** Logit lens: the tokens that a hidden state is closest to. */
import type { Tokenizer } from "./tokenizer";
import type { Matrix, TokenProbability } from "./types";

/**
 * @param logits - (M, V).
 * @param k - how many tokens per row.
 * @returns for each row the k likeliest tokens, likeliest first, with softmax probabilities. A row with NaN or infinity
 *   gives none; it ends the run when the next token is picked.
 */
export function topProbabilities(
  logits: Matrix,
  k: number,
  tokenizer: Pick<Tokenizer, "tokenText">,
): TokenProbability[][] {
  return Array.from({ length: logits.rows }, (_, row) => {
    const values = logits.data.subarray(row * logits.columns, (row + 1) * logits.columns);
    return topOfRow(values, Math.min(k, logits.columns)).map(({ tokenId, probability }) => ({
      tokenId,
      text: tokenizer.tokenText(tokenId),
      probability,
    }));
  });
}

function topOfRow(values: Float32Array, k: number): { tokenId: number; probability: number }[] {
  const best: number[] = [];
  let most = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < values.length; id++) {
    const value = values[id] as number;
    most = Math.max(most, value);
    if (best.length === k && value <= (values[best[k - 1] as number] as number)) continue;
    let place = best.length;
    while (place > 0 && (values[best[place - 1] as number] as number) < value) place--;
    best.splice(place, 0, id);
    if (best.length > k) best.pop();
  }
  let total = 0;
  for (const value of values) total += Math.exp(value - most);
  if (!Number.isFinite(total)) return [];
  return best.map((tokenId) => ({
    tokenId,
    probability: Math.exp((values[tokenId] as number) - most) / total,
  }));
}
