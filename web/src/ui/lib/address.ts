/** The address of a system, from what the visitor typed. */

const HUB = /^[\w.-]+\/[\w.-]+$/;

/**
 * @param typed - the URL of a `system.json` or of its folder, or `owner/name` of a repository on the Hugging Face Hub.
 * @returns the URL of its `system.json`.
 */
export function systemAddress(typed: string): string {
  const text = typed.trim();
  if (HUB.test(text) && !text.endsWith(".json"))
    return `https://huggingface.co/${text}/resolve/main/system.json`;
  return /\.json(\?.*)?$/.test(text) ? text : `${text.replace(/\/$/, "")}/system.json`;
}
