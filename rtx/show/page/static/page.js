// The live wall: asks for views, decodes them, draws heat over the picture, writes what the network says beside it.

import { ExplainPanel } from "./explain.js";

const WINDOW = 2; // answers on their way at once, as the server allows
const SILENT_MS = 3000; // the display speaks at least twice a second
const RETRY_MS = { first: 300, most: 5000 };

const byId = (id) => document.getElementById(id);
const tiles = new Map();
const counts = { frames: 0, views: 0, sent: 0 };
const controls = { overlay: recall("overlay", "on") === "on", opacity: Number(recall("opacity", "NaN")), truth: recall("truth", "off") === "on", display: recall("display", "") };
let palette = new Uint8Array(768);
let dim = 1;
let darkest = 0; // of 255: what a focused picture keeps where there is no evidence

// --- One camera -----------------------------------------------------------------------------------------------

class Tile {
  constructor(name) {
    this.node = byId("tile").content.firstElementChild.cloneNode(true);
    this.node.dataset.camera = name;
    this.canvas = this.part("canvas");
    this.canvas.setAttribute("aria-label", `Live picture of ${name}`);
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.heat = document.createElement("canvas");
    this.values = new Uint8Array(0); // of the heat, as it came
    this.outlines = document.createElement("canvas"); // of the truth, where the frame was drawn
    this.view = null;
    this.seq = null; // of the frame on the screen
    this.picture = null;
    this.arrivals = 0;
    this.ready = 0;
    this.dirty = false;
    write(this.part(".name"), name);
    this.describe();
  }

  part(selector) {
    return this.node.querySelector(selector);
  }

  /** Decode a message; what it replaces is drawn no more. Resolves when the picture can be drawn. */
  async take(view, heat, jpeg) {
    const arrival = ++this.arrivals;
    view.arrived = performance.now();
    const picture = await createImageBitmap(jpeg, { colorSpaceConversion: "none" });
    if (arrival < this.ready) {
      picture.close(); // a newer one was decoded first
      return;
    }
    this.ready = arrival;
    this.picture?.close();
    this.picture = picture;
    this.view = view;
    this.values = heat;
    this.colour();
    this.dirty = true;
  }

  /** The small map as a picture. Heat: value -> palette, with the value as alpha; the opacity comes in when it is drawn.
   *  Focus: darkness, where the value is low. */
  colour() {
    const { values } = this;
    if (!values.length) return;
    const [height, width] = this.view.heat;
    const focus = controls.display === "focus";
    this.heat.width = width;
    this.heat.height = height;
    const context = this.heat.getContext("2d");
    const image = context.createImageData(width, height);
    if (focus && !values.some((value) => value)) return context.clearRect(0, 0, width, height);
    values.forEach((value, i) => {
      if (!focus) image.data.set(palette.subarray(3 * value, 3 * value + 3), 4 * i);
      image.data[4 * i + 3] = focus ? (255 - darkest) * (1 - value / 255) : value;
    });
    context.putImageData(image, 0, 0);
  }

  draw() {
    this.dirty = false;
    const { canvas, context, picture, view } = this;
    if (!picture) return;
    if (canvas.width !== picture.width || canvas.height !== picture.height) {
      canvas.width = picture.width;
      canvas.height = picture.height;
    }
    context.drawImage(picture, 0, 0);
    this.seq = view.seq;
    if (controls.overlay && view.rect) this.drawHeat();
    if (controls.truth && view.truth) this.drawTruth();
    if (view.inset) {
      const [left, top, right, bottom] = view.inset;
      context.drawImage(picture, left, top, right - left, bottom - top, left, top, right - left, bottom - top);
    }
  }

  drawHeat() {
    const { canvas, context, view } = this;
    const [x, y, width, height] = view.rect;
    const [seenX, seenY, seenWidth, seenHeight] = view.seen ?? view.rect;
    const left = Math.max(0, Math.round(seenX));
    const top = Math.max(0, Math.round(seenY));
    const right = Math.min(canvas.width, Math.round(seenX + seenWidth));
    const bottom = Math.min(canvas.height, Math.round(seenY + seenHeight));
    context.save();
    const focused = controls.display === "focus" && this.values.some((value) => value);
    context.fillStyle = `rgb(0 0 0 / ${1 - (focused ? darkest / 255 : dim)})`;
    context.beginPath();
    context.rect(0, 0, canvas.width, canvas.height);
    context.rect(left, top, Math.max(0, right - left), Math.max(0, bottom - top));
    context.fill("evenodd");
    context.beginPath();
    context.rect(left, top, Math.max(0, right - left), Math.max(0, bottom - top));
    context.clip();
    context.globalAlpha = controls.display === "focus" ? 1 : controls.opacity;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.heat, x, y, width, height);
    context.restore();
  }

  /** What is really there: the figure's outline white, the limbs that make the action orange, what distracts grey. */
  drawTruth() {
    const { body, acting, distractor } = this.view.truth;
    this.outline(distractor, "#9aa0aa");
    this.outline(body, "#ffffff");
    this.outline(acting, "#ff9d2e");
  }

  /** The outer edge of all these areas together: stroked, then emptied inside. */
  outline(areas, colour) {
    const { outlines, canvas, context } = this;
    if (outlines.width !== canvas.width || outlines.height !== canvas.height) {
      outlines.width = canvas.width;
      outlines.height = canvas.height;
    }
    const path = new Path2D();
    for (const points of areas) {
      path.moveTo(points[0], points[1]);
      for (let i = 2; i < points.length; i += 2) path.lineTo(points[i], points[i + 1]);
      path.closePath();
    }
    const pen = outlines.getContext("2d");
    pen.clearRect(0, 0, outlines.width, outlines.height);
    pen.globalCompositeOperation = "source-over";
    pen.strokeStyle = colour;
    pen.lineWidth = Math.max(2, canvas.height / 120);
    pen.lineJoin = "round";
    pen.stroke(path);
    pen.globalCompositeOperation = "destination-out";
    pen.fill(path);
    context.drawImage(outlines, 0, 0);
  }

  /** What the view says, in words. Labels come from outside: they are only ever written as text. */
  describe() {
    const { view } = this;
    this.part(".empty").hidden = view !== null;
    this.part(".facts").hidden = view === null;
    if (!view) return;
    state(this.part(".camera"), view.camera_state, "live", /lost/);
    state(this.part(".worker"), view.worker_state, "explaining", /silent|restart|gone/);
    const rows = this.node.querySelectorAll(".classes li");
    rows.forEach((row, i) => {
      const top = view.top[i];
      row.hidden = !top;
      if (!top) return;
      row.classList.toggle("explained", top.label === view.target);
      write(row.querySelector(".label"), top.label);
      write(row.querySelector(".percent"), percent(top.p));
      row.querySelector(".bar span").style.transform = `scaleX(${Math.min(1, Math.max(0, top.p))})`;
    });
    this.part(".classes").hidden = !view.top.length;
    const heat = this.part(".heat");
    const none = view.top.length > 0 && !view.evidence;
    heat.classList.toggle("none", none);
    if (none) write(heat, "No evidence above threshold");
    else write(heat, view.target === null ? "" : evidence(view));
    this.part("dl").hidden = view.heatmap_age_ms === null;
    this.node.classList.toggle("late", view.late);
    this.part(".degraded").hidden = !view.degraded;
    write(this.part(".degraded"), view.degraded ? `To keep within the budget: ${view.degraded}` : "");
    fact(this.part(".behind"), view.misalignment_ms, duration);
    this.describeTruth(view);
    fact(this.part(".motion"), view.motion_share, percent);
    write(this.part(".how"), [view.explainer, view.model, view.backend, view.precision].filter(Boolean).join(" · "));
    this.tick();
  }

  describeTruth({ truth, right, hits }) {
    const node = this.part(".truth");
    node.hidden = truth === null;
    if (truth !== null) {
      node.dataset.right = right === null ? "" : String(right);
      write(this.part(".truth .mark"), right === null ? "" : right ? "✓" : "✗");
      write(this.part(".truth .words"), `Truth: ${truth.action}`);
      if (byId("truth").hidden) byId("truth").hidden = false;
    }
    const [body, limbs, bodyChance, limbsChance] = hits ?? [null, null, null, null];
    fact(this.part(".body"), body, percent);
    fact(this.part(".limbs"), limbs, percent);
    write(this.part(".body .chance"), `chance ${percent(bodyChance)}`);
    write(this.part(".limbs .chance"), `chance ${percent(limbsChance)}`);
  }

  get heatmapAge() {
    if (!this.view || this.view.heatmap_age_ms === null) return null;
    return this.view.heatmap_age_ms + performance.now() - this.view.arrived;
  }

  /** Ages go on between messages. */
  tick() {
    const age = this.heatmapAge;
    if (age === null) return;
    const uncertain = this.view.uncertainty_ms >= 1 ? ` ± ${Math.round(this.view.uncertainty_ms)} ms` : "";
    const late = this.view.late ? " late" : "";
    const number = this.part(".age dd");
    if (!number.firstElementChild) number.append("", document.createElement("small"));
    write(number, duration(age));
    write(number.lastElementChild, uncertain + late);
  }
}

/** Which class the heat speaks for, how likely that is where it is none of those named above, and against which. */
function evidence(view) {
  const { target, target_p: p, top } = view;
  const likely = top.some(({ label }) => label === target) ? "" : ` (${percent(p)})`;
  const against = panel.against(view);
  return `Heat: evidence for ${target}${likely}${against === null ? "" : `, not ${against}`}`;
}

/** Text into a node's first text node, touched only where it changed. */
function write(node, text) {
  if (node.firstChild?.nodeType !== Node.TEXT_NODE) node.prepend("");
  if (node.firstChild.data !== text) node.firstChild.data = text;
}

function state(chip, words, good, bad) {
  write(chip, words);
  chip.dataset.level = words === good ? "good" : bad.test(words) ? "bad" : "wait";
}

function fact(node, value, words) {
  node.hidden = value === null;
  if (value !== null) write(node.querySelector("dd"), words(value));
}

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

function duration(ms) {
  return ms < 10000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

// --- Drawing: once a screen refresh, and only what changed; a tab in the background draws and asks for nothing ---

let frame = 0;
let answered = 0; // answers that came whole and are drawn at the next refresh

function refresh() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    for (const tile of tiles.values()) {
      if (!tile.dirty) continue;
      tile.draw();
      tile.describe();
      counts.frames += 1;
    }
    for (; answered > 0; answered -= 1) ask();
  });
}

function redraw() {
  requestAnimationFrame(() => tiles.forEach((tile) => tile.draw()));
}

// --- The connection -------------------------------------------------------------------------------------------

let socket = null;
let retry = RETRY_MS.first;
let heard = null; // when the last view came; null before the first

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  socket.binaryType = "arraybuffer";
  const mine = socket;
  socket.onmessage = ({ data }) => {
    if (typeof data !== "string") return receive(mine, data);
    const told = JSON.parse(data);
    if (told.type === "hello") welcome(told);
    else panel.show(told);
  };
  socket.onclose = ({ code, reason }) => {
    answered = 0;
    heard = null;
    document.body.classList.add("offline");
    notice(code === 1013 && reason ? `${reason}. Trying again…` : "Connection lost. Trying again…", "bad");
    setTimeout(connect, retry * (0.75 + Math.random() / 2));
    retry = Math.min(2 * retry, RETRY_MS.most);
  };
}

const panel = new ExplainPanel(byId("panel"), (wish) => {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(wish));
});

function ask() {
  if (socket.readyState !== WebSocket.OPEN) return;
  socket.send("next");
  counts.sent += 1;
}

function welcome(hello) {
  retry = RETRY_MS.first;
  palette = new Uint8Array(hello.palette);
  dim = hello.dim;
  if (!(controls.opacity >= 0 && controls.opacity <= 1)) controls.opacity = hello.opacity;
  if (!["heat", "focus"].includes(controls.display)) controls.display = hello.display;
  darkest = hello.darkest;
  showControls();
  paintScale();
  panel.offer(hello);
  for (const [name, tile] of tiles) {
    if (hello.cameras.includes(name)) continue;
    tile.node.remove();
    tiles.delete(name);
  }
  for (const name of hello.cameras) {
    if (!tiles.has(name)) tiles.set(name, new Tile(name));
    byId("wall").append(tiles.get(name).node);
  }
  document.body.classList.remove("offline");
  notice("");
  for (let i = 0; i < WINDOW; i += 1) ask();
}

async function receive(from, data) {
  heard = performance.now();
  counts.views += 1;
  const end = 4 + new DataView(data).getUint32(0, true);
  const view = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, end - 4)));
  const size = view.heat[0] * view.heat[1];
  const jpeg = new Blob([new Uint8Array(data, end + size)], { type: "image/jpeg" });
  try {
    await tiles.get(view.camera)?.take(view, new Uint8Array(data, end, size), jpeg);
  } finally {
    if (view.last && from === socket) answered += 1;
    refresh();
  }
}

function notice(text, level = "wait") {
  const node = byId("notice");
  write(node, text);
  node.dataset.level = level;
  node.hidden = !text;
}

document.addEventListener("visibilitychange", () => {
  heard &&= performance.now(); // in the background nothing was asked for
});

setInterval(() => {
  tiles.forEach((tile) => tile.tick());
  if (heard === null || document.hidden || document.body.classList.contains("offline")) return;
  const silent = performance.now() - heard;
  notice(silent > SILENT_MS ? `No news from rtx for ${Math.round(silent / 1000)} s` : "", "bad");
}, 100);

// --- The controls: this browser's own, no round trip ----------------------------------------------------------

function showControls() {
  const { overlay, opacity, truth, display } = controls;
  byId("focus").setAttribute("aria-pressed", String(display === "focus"));
  write(byId("focus-word"), display === "focus" ? "on" : "off");
  byId("opacity").disabled = display === "focus";
  byId("truth").setAttribute("aria-pressed", String(truth));
  write(byId("truth-word"), truth ? "on" : "off");
  byId("overlay").setAttribute("aria-pressed", String(overlay));
  write(byId("overlay-word"), overlay ? "on" : "off");
  byId("opacity").value = String(Math.round(100 * opacity));
  write(byId("opacity-word"), `${Math.round(100 * opacity)} %`);
}

function switchOverlay() {
  controls.overlay = !controls.overlay;
  remember("overlay", controls.overlay ? "on" : "off");
  showControls();
  redraw();
}

function switchFocus() {
  controls.display = controls.display === "focus" ? "heat" : "focus";
  remember("display", controls.display);
  showControls();
  tiles.forEach((tile) => tile.colour());
  redraw();
}

function switchTruth() {
  controls.truth = !controls.truth;
  remember("truth", controls.truth ? "on" : "off");
  showControls();
  redraw();
}

function switchPanel() {
  const open = byId("panel").hidden;
  if (byId("panel").contains(document.activeElement)) byId("explain").focus();
  byId("panel").hidden = !open;
  byId("explain").setAttribute("aria-expanded", String(open));
  if (open) byId("explainer").focus();
}

function paintScale() {
  const context = byId("scale").getContext("2d");
  const image = context.createImageData(256, 1);
  for (let i = 0; i < 256; i += 1) image.data.set([...palette.subarray(3 * i, 3 * i + 3), 255], 4 * i);
  context.putImageData(image, 0, 0);
}

byId("overlay").addEventListener("click", switchOverlay);
byId("focus").addEventListener("click", switchFocus);
byId("truth").addEventListener("click", switchTruth);
byId("explain").addEventListener("click", switchPanel);
byId("opacity").addEventListener("input", ({ target }) => {
  controls.opacity = Number(target.value) / 100;
  remember("opacity", String(controls.opacity));
  showControls();
  redraw();
});
document.addEventListener("keydown", (event) => {
  const writing = event.target.matches?.("input[type=text], input[type=number], select");
  if (event.key === "Escape" && !event.defaultPrevented && !byId("panel").hidden) switchPanel();
  const plain = !(event.ctrlKey || event.metaKey || event.altKey || event.repeat || writing);
  if (event.key.toLowerCase() === "e" && plain) {
    event.preventDefault(); // or the list that now has the focus would jump to what begins with e
    switchPanel();
  }
  if (event.key.toLowerCase() === "h" && plain) switchOverlay();
  if (event.key.toLowerCase() === "f" && plain) switchFocus();
  if (event.key.toLowerCase() === "t" && plain && !byId("truth").hidden) switchTruth();
});

/** A setting kept by this browser. One that keeps nothing for pages throws at the mere mention of the storage. */
function recall(key, otherwise) {
  try {
    return localStorage.getItem(`rtx.${key}`) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(`rtx.${key}`, value);
  } catch (error) {
    console.info("This browser will not remember the setting.", error);
  }
}

// --- For tests and benchmarks ---------------------------------------------------------------------------------

window.rtx = Object.freeze({
  get frames() {
    return counts.frames;
  },
  get views() {
    return counts.views;
  },
  get sent() {
    return counts.sent;
  },
  get tiles() {
    const entries = [...tiles].map(([name, { seq, heatmapAge }]) => [name, { seq, heatmapAge }]);
    return Object.fromEntries(entries);
  },
});

connect();
