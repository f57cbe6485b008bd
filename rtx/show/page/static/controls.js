// The bar and the panel of looks: what only changes this browser's own picture.

import { byId, element, percent, write } from "./dom.js";
import { look, palette } from "./heat.js";
import { change, onChange, settings } from "./settings.js";

const systemIsLight = matchMedia("(prefers-color-scheme: light)");

const SWITCHES = {
  overlay: { on: true, off: false },
  display: { on: "focus", off: "heat" },
  truth: { on: true, off: false },
};

const PANELS = { explain: "panel", look: "looks", cameras: "camera-panel" };

/** Switch what is on off, and what is off on. */
export function flip(key) {
  const { on, off } = SWITCHES[key];
  change(key, settings[key] === on ? off : on);
}

/** Open or close what a button of the bar stands for; only one is open at once. */
export function disclose(name, open = byId(PANELS[name]).hidden) {
  for (const [other, panel] of Object.entries(PANELS)) {
    const node = byId(panel);
    if (other !== name && !open) continue;
    if (node.contains(document.activeElement)) byId(other).focus();
    node.hidden = other !== name || !open;
    byId(other).setAttribute("aria-expanded", String(!node.hidden));
  }
  if (open) byId(PANELS[name]).querySelector("select:enabled, input:enabled:not([hidden])")?.focus();
}

/** Close what is open; false where nothing is. */
export function close() {
  const open = Object.keys(PANELS).find((name) => !byId(PANELS[name]).hidden);
  if (open) disclose(open, false);
  return open !== undefined;
}

/** What the controls show follows what is set. */
export function showControls() {
  const { overlay, opacity, truth, display, colours, threshold, smoothing, theme, announce } = settings;
  pressed("overlay", overlay);
  pressed("focus", display === "focus");
  pressed("truth", truth);
  byId("opacity").disabled = display === "focus";
  slide("opacity", 100 * opacity, percent(opacity));
  slide("threshold", 100 * threshold, percent(threshold));
  slide("smoothing", 10 * smoothing, smoothing ? `${smoothing} s` : "off");
  byId("colours").replaceChildren(...Object.keys(look.palettes).map((name) => element("option", { value: name, textContent: name })));
  byId("colours").value = colours in look.palettes ? colours : (Object.keys(look.palettes)[0] ?? "");
  byId("theme").value = theme;
  byId("announce").checked = announce;
  const light = theme === "auto" ? systemIsLight.matches : theme === "light";
  document.documentElement.dataset.theme = light ? "light" : "dark";
  paintScale();
}

function pressed(id, on) {
  byId(id).setAttribute("aria-pressed", String(on));
  write(byId(`${id}-word`), on ? "on" : "off");
}

function slide(id, position, words) {
  byId(id).value = String(Math.round(position));
  byId(id).setAttribute("aria-valuetext", words);
  write(byId(`${id}-word`), words);
}

function paintScale() {
  const context = byId("scale").getContext("2d");
  const image = context.createImageData(256, 1);
  const colours = palette();
  for (let i = 0; i < 256; i += 1) image.data.set([...colours.subarray(3 * i, 3 * i + 3), 255], 4 * i);
  context.putImageData(image, 0, 0);
}

byId("overlay").addEventListener("click", () => flip("overlay"));
byId("focus").addEventListener("click", () => flip("display"));
byId("truth").addEventListener("click", () => flip("truth"));
for (const name of Object.keys(PANELS)) byId(name).addEventListener("click", () => disclose(name));
byId("help").addEventListener("click", () => byId("keys").showModal());
byId("opacity").addEventListener("input", ({ target }) => change("opacity", Number(target.value) / 100));
byId("threshold").addEventListener("input", ({ target }) => change("threshold", Number(target.value) / 100));
byId("smoothing").addEventListener("input", ({ target }) => change("smoothing", Number(target.value) / 10));
byId("colours").addEventListener("change", ({ target }) => change("colours", target.value));
byId("theme").addEventListener("change", ({ target }) => change("theme", target.value));
byId("announce").addEventListener("change", ({ target }) => change("announce", target.checked));
systemIsLight.addEventListener("change", showControls);
onChange(showControls);
