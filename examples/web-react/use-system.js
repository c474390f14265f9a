import { useEffect, useState } from "react";
import { loadSystem } from "recursivemas";

/** Loads a system while the component is mounted, and frees the GPU when it is not. */
export function useSystem(url) {
  const [state, setState] = useState({ progress: 0 });
  useEffect(() => {
    const controller = new AbortController();
    let system;
    loadSystem(url, {
      signal: controller.signal,
      onProgress: ({ fraction }) => setState({ progress: fraction }),
    }).then(
      (loaded) => {
        system = loaded;
        if (controller.signal.aborted) void loaded.dispose();
        else setState({ progress: 1, system: loaded });
      },
      (error) => {
        if (!controller.signal.aborted) setState({ progress: 0, error });
      },
    );
    return () => {
      controller.abort();
      void system?.dispose();
    };
  }, [url]);
  return state;
}
