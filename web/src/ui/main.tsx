/** Puts the page into the document. */
import { render } from "preact";
import { App } from "./app";
import { restoreTheme } from "./parts/theme";
import type { Backend } from "./state/backend";
import { watchSleep } from "./state/sleep";
import { createStore, StoreContext } from "./state/store";
import "./styles/index.css";

/** @param backend - the engine and the list of systems. */
export function mount(root: Element, backend: Backend): void {
  restoreTheme();
  const store = createStore(backend);
  watchSleep(() => store.session.noteSleep());
  render(
    <StoreContext.Provider value={store}>
      <App />
    </StoreContext.Provider>,
    root,
  );
}
