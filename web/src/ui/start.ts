/** The entry point of the shipped page. */

import { keepPage } from "./lib/storage";
import { mount } from "./main";
import { engineBackend } from "./state/backend";

mount(document.body.appendChild(document.createElement("div")), engineBackend);
// It stays if this script is missing or fails.
document.getElementById("starting")?.remove();

// After everything that the first view needs has loaded.
window.addEventListener("load", () => void keepPage());
