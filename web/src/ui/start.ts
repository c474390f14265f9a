/** The entry of the shipped page. */
import { engineBackend } from "./backend";
import { keepPage } from "./lib/storage";
import { mount } from "./main";

mount(document.body.appendChild(document.createElement("div")), engineBackend);

// After everything that the first view needs.
window.addEventListener("load", () => void keepPage());
