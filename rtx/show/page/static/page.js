// The live wall: asks for views, draws them, writes what the network says beside them.

import { CameraPanel } from "./cameras.js";
import { close, disclose, flip, showControls } from "./controls.js";
import { byId, percent, write } from "./dom.js";
import { EventList } from "./events.js";
import { ExplainPanel } from "./explain.js";
import { forgetPalettes, look } from "./heat.js";
import { listenTo } from "./keys.js";
import { Line } from "./line.js";
import { onChange, settings, suggest } from "./settings.js";
import { Still } from "./still.js";
import { Tile } from "./tile.js";

const SILENT_MS = 3000; // the display speaks at least twice a second
const SAY_EVERY_MS = 3000;

const tiles = new Map();
let drawn = 0;
let budget = Infinity;

const panel = new ExplainPanel(byId("panel"), (wish) => line.send(JSON.stringify(wish)));
const cameras = new CameraPanel(byId("camera-panel"), (wish) => line.send(JSON.stringify(wish)));
const archive = new EventList(byId("archive"));
const still = new Still(byId("still"), (wish) => line.send(JSON.stringify(wish)));
const line = new Line({
  hello: welcome,
  told: (state) => (state.type === "cameras" ? seat(state) : panel.show(state)),
  view: (view, heat, jpeg) => tiles.get(view.camera)?.take(view, heat, jpeg),
  drawn: refresh,
  held: (header, data, begin) => still.show(header, data, begin),
  lost: (why) => {
    document.body.classList.add("offline");
    notice(`${why}. Trying again…`, "bad");
  },
});

function welcome(hello) {
  Object.assign(look, { dim: hello.dim, darkest: hello.darkest, palettes: hello.palettes });
  forgetPalettes();
  budget = hello.budget_ms;
  byId("explain").hidden = !hello.may_steer;
  suggest({ opacity: hello.opacity, display: hello.display, colours: hello.colours });
  panel.offer(hello);
  byId("cameras").hidden = !hello.may_steer;
  archive.explainers(hello.may_steer ? hello.explainers.filter(({ reads }) => reads).map(({ name }) => name) : []);
  hang(hello.cameras);
  document.body.classList.remove("offline");
  notice("");
}

/** A tile for each of these cameras, in their order, and none for others. */
function hang(names) {
  const wall = byId("wall");
  for (const [name, tile] of tiles) {
    if (names.includes(name)) continue;
    if (wall.dataset.alone === name) enlarge(null);
    tile.node.remove();
    tiles.delete(name);
  }
  for (const name of names) {
    if (!tiles.has(name)) tiles.set(name, newTile(name));
    if (wall.dataset.alone) tiles.get(name).node.hidden = wall.dataset.alone !== name;
  }
  const nodes = names.map((name) => tiles.get(name).node);
  if (nodes.some((node, i) => wall.children[i] !== node)) wall.replaceChildren(...nodes);
}

/** The run has these cameras now. */
function seat(state) {
  hang(state.seats.map(({ name }) => name));
  for (const { name, paused, trouble, state: words } of state.seats) {
    const why = trouble ? `Given up: ${trouble}` : paused ? "Paused" : `No picture yet${words && words !== "live" ? `: ${words}` : ""}`;
    write(tiles.get(name).part(".empty"), why);
  }
  cameras.show(state);
}

function newTile(name) {
  const tile = new Tile(name, { against: (view) => panel.against(view), budget: () => budget });
  tile.part(".enlarge").addEventListener("click", () => enlarge(byId("wall").dataset.alone === name ? null : name));
  tile.part(".hold").addEventListener("click", () => still.ask(name));
  return tile;
}

// --- Drawing: once a screen refresh, and only what changed; a tab in the background draws and asks for nothing ---

let frame = 0;

function refresh() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    for (const tile of tiles.values()) {
      if (!tile.dirty) continue;
      tile.draw();
      tile.describe();
      if (tile.view.truth) byId("truth").hidden = false;
      drawn += 1;
    }
    line.goOn();
  });
}

onChange((key) => {
  if (["display", "colours", "threshold", null].includes(key)) tiles.forEach((tile) => tile.heat.paint());
  requestAnimationFrame(() => {
    tiles.forEach((tile) => tile.draw());
    still.paint();
    archive.player.draw();
  });
});

byId("events").addEventListener("click", () => archive.open());

// --- One camera alone ---

/** Let one camera fill the screen; null: all of them again. */
async function enlarge(name) {
  const wall = byId("wall");
  wall.dataset.alone = name ?? "";
  for (const tile of tiles.values()) {
    tile.node.hidden = name !== null && tile.name !== name;
    const alone = tile.name === name;
    tile.part(".enlarge").setAttribute("aria-pressed", String(alone));
  }
  document.body.classList.toggle("alone", name !== null);
  try {
    if (name !== null) await document.documentElement.requestFullscreen?.();
    else if (document.fullscreenElement) await document.exitFullscreen();
  } catch (error) {
    console.info("The browser keeps its frame; the picture fills what is within.", error);
  }
}

document.addEventListener("fullscreenchange", () => {
  if (!document.fullscreenElement && byId("wall").dataset.alone) enlarge(null);
});

// --- What goes on while nothing comes ---

function notice(text, level = "wait") {
  const node = byId("notice");
  write(node, text);
  node.dataset.level = level;
  node.hidden = !text;
}

document.addEventListener("visibilitychange", () => {
  line.heard &&= performance.now(); // in the background nothing was asked for
});

setInterval(() => {
  tiles.forEach((tile) => tile.tick());
  if (line.heard === null || document.hidden || document.body.classList.contains("offline")) return;
  const silent = performance.now() - line.heard;
  notice(silent > SILENT_MS ? `No news from rtx for ${Math.round(silent / 1000)} s` : "", "bad");
}, 100);

// --- For those who hear the page: each camera's likeliest action, when it has changed; switched on by them ---

const said = new Map();

setInterval(() => {
  if (!settings.announce || document.hidden) return;
  const news = [...tiles.values()].filter(({ name, view }) => view?.top.length && view.evidence && said.get(name) !== view.top[0].label);
  if (!news.length) return;
  news.forEach(({ name, view }) => said.set(name, view.top[0].label));
  write(byId("announced"), news.map(({ name, view }) => `${name}: ${view.top[0].label}, ${percent(view.top[0].p)}`).join("; "));
}, SAY_EVERY_MS);

// --- Keys ---

listenTo([
  { key: "h", over: true, says: "heat on or off", act: () => flip("overlay") },
  { key: "f", over: true, says: "focus: the picture where the evidence is, darkness elsewhere", act: () => flip("display") },
  { key: "t", says: "outlines of what is really there, where that is known", act: () => byId("truth").hidden || flip("truth") },
  { key: "e", says: "choose the explainer and the class to explain", act: () => byId("explain").hidden || disclose("explain") },
  { key: "k", says: "add, pause and remove cameras", act: () => byId("cameras").hidden || disclose("cameras") },
  { key: "v", says: "what was recorded", act: () => archive.open() },
  { key: "l", says: "colours, threshold, smoothing, light or dark", act: () => disclose("look") },
  { key: /^[1-9]$/, as: "1 … 9", says: "this camera alone", act: (key) => enlarge([...tiles.keys()][key - 1] ?? null) },
  { key: "0", says: "all cameras", act: () => enlarge(null) },
  { key: "c", says: "hold the clip: its frames, scrubbed with ← and →", act: () => still.ask(byId("wall").dataset.alone || [...tiles.keys()][0]) },
  { key: "?", says: "these keys", act: () => byId("keys").showModal() },
  { key: "Escape", says: "close what is open", act: () => close() || (byId("wall").dataset.alone ? enlarge(null) : false) },
]);

// --- For tests and benchmarks ---

window.rtx = Object.freeze({
  get frames() {
    return drawn;
  },
  get views() {
    return line.views;
  },
  get sent() {
    return line.asked;
  },
  get tiles() {
    const entries = [...tiles].map(([name, { seq, heatmapAge }]) => [name, { seq, heatmapAge }]);
    return Object.fromEntries(entries);
  },
});

showControls();
line.connect();
