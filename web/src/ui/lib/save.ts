/** Gives the visitor a file. */

/** @param type - MIME type. */
export function saveFile(name: string, text: string, type: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // The download starts with the click. Waiting before the release is merely careful.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
