/** The page on the stand-in engine, for working on it. */
import { mount } from "../../src/ui/main";
import { fakeBackend } from "./fake-engine";

const query = new URLSearchParams(window.location.hash.slice(1));
const backend = fakeBackend({
  stepMs: Number(query.get("ms") ?? 120),
  fail: query.get("fail"),
  failWhen: query.get("when") === "run" ? "run" : "load",
  pattern: query.get("pattern") ?? "sequential",
});
mount(document.body.appendChild(document.createElement("div")), backend);
