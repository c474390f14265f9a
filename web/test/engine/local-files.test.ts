import { expect, test } from "vitest";
import { fetchLocal } from "../../src/engine/local-files";

const BASE = "https://folder.recursivemas.invalid/";
const files = new Map([
  ["system.json", new Blob(["{}"])],
  ["agents/a b/x.bin", new Blob(["weights"])],
]);

test("a folder answers for the files it has, and for nothing else", async () => {
  const fetch = fetchLocal(files, `${BASE}system.json`);
  expect(await (await fetch(`${BASE}system.json`)).text()).toBe("{}");
  expect(await (await fetch(new URL("agents/a b/x.bin", BASE).href)).text()).toBe("weights");
  expect((await fetch(`${BASE}agents/none`)).status).toBe(404);
  expect((await fetch("https://elsewhere.test/system.json")).status).toBe(404);
});
