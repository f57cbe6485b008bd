// The keys, and the help that lists them.

import { byId, element } from "./dom.js";

/** Listen to these from now on. Of each: `key`; what it `says`; `act(key)`; `as`, where several keys do alike; `over` dialogs, too. */
export function listenTo(keys) {
  const rows = keys.flatMap(({ key, as, says }) => {
    const term = element("dt");
    term.append(element("kbd", { textContent: as ?? key }));
    return [term, element("dd", { textContent: says })];
  });
  byId("key-list").replaceChildren(...rows);
  document.addEventListener("keydown", (event) => {
    const writing = event.target.matches?.("input[type=text], input[type=number], input[type=password], select, textarea");
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const pressed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const known = keys.find(({ key }) => (key instanceof RegExp ? key.test(pressed) : key === pressed));
    if (!known || (writing && pressed !== "Escape")) return;
    if (!known.over && document.querySelector("dialog[open]")) return; // what lies behind it stays; Escape closes it
    if (known.act(pressed) !== false) event.preventDefault(); // or a list that has the focus would jump to this letter
  });
}
