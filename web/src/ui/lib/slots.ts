/** Says what is wrong with a prompt before it is run. The engine has the last word (docs/recursion.md, rule 2). */

/**
 * @param template - with `{question}` and `{latent:<edge>}` slots; `{{` and `}}` are literal braces.
 * @param edges - ids of the edges that arrive at the agent.
 * @returns one line, or undefined when nothing is wrong.
 */
export function promptProblem(template: string, edges: readonly string[]): string | undefined {
  for (const match of template.matchAll(/\{\{|\}\}|\{([^{}]*)\}|[{}]/g)) {
    const [token, slot] = match;
    if (token === "{{" || token === "}}") continue;
    if (slot === undefined) return `A lone “${token}”; write “${token}${token}” for a brace.`;
    if (slot === "question") continue;
    const edge = slot.startsWith("latent:") ? slot.slice("latent:".length) : undefined;
    if (edge === undefined)
      return `“{${slot}}” is no slot; there is {question}${edges.length > 0 ? ", and one for each edge" : ""}.`;
    if (!edges.includes(edge)) return `No edge “${edge}” arrives here.`;
  }
  return undefined;
}
