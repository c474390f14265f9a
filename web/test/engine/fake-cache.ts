/** A Cache in memory. */
export class FakeCache {
  readonly entries = new Map<string, Uint8Array<ArrayBuffer>>();
  full = false;
  match = async (url: RequestInfo | URL): Promise<Response | undefined> => {
    const held = this.entries.get(String(url));
    return held && new Response(held);
  };
  put = async (url: RequestInfo | URL, response: Response): Promise<void> => {
    if (this.full) throw new DOMException("no room", "QuotaExceededError");
    this.entries.set(String(url), new Uint8Array(await response.arrayBuffer()));
  };
  delete = async (url: RequestInfo | URL): Promise<boolean> => this.entries.delete(String(url));
}
