/** The gallery: a page of its own that shows the links of systems/gallery.json. */
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import listText from "../../../systems/gallery.json?raw";
import { parseFile } from "../formats/format";
import type { GalleryEntry } from "../formats/generated/types";
import { GALLERY } from "../formats/generated/validators";
import { type Catalog, readCatalog } from "./model/catalog";
import { SharedRecord } from "./parts/shared-record";
import { restoreTheme } from "./parts/theme";
import "./styles/index.css";

function Gallery({ entries }: { entries: readonly GalleryEntry[] }) {
  const [catalog, setCatalog] = useState<Catalog>([]);
  useEffect(() => {
    // Without a list beside the page, no system can be opened here.
    readCatalog("systems/index.json").then(setCatalog, () => {});
  }, []);
  return (
    <main class="gallery">
      <h1>Gallery of links</h1>
      <p class="view-lead">
        The links that come with <a href="./">this project</a>. Links are small trained modules through which
        language models pass thoughts to each other. Every entry was checked against its files: size,
        fingerprint, and the fit with its agents.
      </p>
      <ul class="shared-list">
        {entries.map(({ record }) => (
          <li key={record.system} class="shared-card" id={record.system}>
            <h2>{record.system}</h2>
            <SharedRecord record={record} name={record.system} />
            <div class="view-tools">
              {catalog.some(({ name }) => name === record.system) ? (
                <a class="button" href={`./?system=${encodeURIComponent(record.system)}`}>
                  Open in the playground
                </a>
              ) : (
                <p class="fine">
                  Not built here. <code>{`make playground SYSTEMS=${record.system}`}</code> builds and opens
                  it.
                </p>
              )}
            </div>
          </li>
        ))}
      </ul>
    </main>
  );
}

restoreTheme();
const { entries } = parseFile(listText, "systems/gallery.json", GALLERY);
render(<Gallery entries={entries} />, document.body.appendChild(document.createElement("div")));
