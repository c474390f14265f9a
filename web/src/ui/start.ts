/** The entry point of the shipped page. */

import { keepPage } from "./lib/storage";
import { mount } from "./main";
import { engineBackend } from "./state/backend";

mount(document.body.appendChild(document.createElement("div")), engineBackend);

// After everything that the first view needs has loaded.
window.addEventListener("load", () => void keepPage());
