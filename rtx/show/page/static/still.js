// A clip held still: its frames as the network saw them with their maps, scrubbed and played, and its pyramid as a tree.

import { element, percent, write } from "./dom.js";
import { Heat } from "./heat.js";
import { settings } from "./settings.js";

const SLOWER = 4; // than it was
const THUMB = 96;
const PATCH = 84;

export class Still {
  /** `send(wish)` asks the worker; the clip comes to `show`. */
  constructor(node, send) {
    this.node = node;
    this.send = send;
    this.clip = null; // what is shown
    this.at = 0; // which of its frames
    this.timer = null; // while it plays
    this.arrivals = 0;
    this.slider = this.part(".when input");
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value)));
    this.part(".play").addEventListener("click", () => (this.timer === null ? this.play() : this.stop()));
    this.part(".climb").addEventListener("click", () => this.climb());
    node.addEventListener("close", () => this.stop());
    node.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape" || event.target === this.slider || !by || !this.clip) return;
      event.preventDefault();
      this.stop();
      this.go(this.at + by);
    });
  }

  part(selector) {
    return this.node.querySelector(selector);
  }

  ask(camera) {
    if (!camera) return;
    this.stop();
    this.camera = camera;
    this.clip = null;
    this.node.classList.add("empty");
    write(this.part("h2"), camera);
    this.say("Asking for the clip…");
    if (!this.send({ type: "hold", camera })) this.say("There is no connection to rtx.", "bad");
    if (!this.node.open) this.node.showModal();
  }

  climb() {
    this.say("One pass more, to read the layers…");
    const { epoch, last_seq: last } = this.clip;
    if (!this.send({ type: "hold", camera: this.camera, tree: [epoch, last] })) this.say("There is no connection to rtx.", "bad");
  }

  say(words, level = "wait") {
    write(this.part(".said"), words);
    this.part(".said").dataset.level = level;
    this.part(".said").hidden = !words;
  }

  /** What the worker gave: a header, then heats and JPEGs from byte `begin` of `data` on. */
  async show(header, data, begin) {
    if (!this.node.open || header.camera !== this.camera) return;
    if (header.refused) {
      this.say(header.refused, "bad");
      return;
    }
    const arrival = ++this.arrivals;
    let at = begin;
    const cut = (size) => new Uint8Array(data, (at += size) - size, size);
    const area = ([, height, width]) => height * width;
    const heats = header.times_ms.map(() => cut(area(header.heat)));
    const layers = header.tree.map((of) => ({ ...of, heats: header.times_ms.map(() => cut(area(header.tree_heat))) }));
    const jpegs = header.jpegs.map((size) => new Blob([cut(size)], { type: "image/jpeg" }));
    const pictures = await Promise.all(jpegs.map((jpeg) => createImageBitmap(jpeg, { colorSpaceConversion: "none" })));
    if (arrival !== this.arrivals) return;
    this.clip?.pictures.forEach((picture) => picture.close());
    const same = this.clip?.epoch === header.epoch && this.clip.last_seq === header.last_seq;
    this.clip = { ...header, heats, layers, pictures };
    this.node.classList.remove("empty");
    this.say("");
    this.describe();
    this.go(same ? this.at : hottest(heats));
    this.paint();
  }

  describe() {
    const { times_ms: times, top, target, evidence, explainer, model, motion_share: share, layers } = this.clip;
    const lasts = ((times[0] - times.at(-1)) / 1000).toFixed(1);
    write(this.part("h2"), `${this.camera}: ${times.length} frames over ${lasts} s, as the network saw them`);
    this.part(".top").replaceChildren(...top.slice(0, 5).map(({ label, p }) => {
      const row = element("li", { className: label === target ? "explained" : "" });
      row.append(element("span", { className: "label", textContent: label }), element("span", { className: "percent", textContent: percent(p) }));
      return row;
    }));
    write(this.part(".of"), [explainer, model].join(" · "));
    const motion = share === null ? "" : `; ${percent(share)} of it is motion`;
    write(this.part(".evidence"), evidence ? `Heat: ${target === null ? "strong features" : `evidence for ${target}`}${motion}` : "No evidence above threshold");
    this.slider.max = String(times.length - 1);
    this.thumbs = times.map((before, i) => {
      const button = element("button", { type: "button", title: since(before) });
      button.append(element("canvas", { width: THUMB, height: THUMB }), element("span", { textContent: since(before) }));
      button.setAttribute("aria-label", `Frame ${i + 1}, ${since(before)}`);
      button.addEventListener("click", () => {
        this.stop();
        this.go(i);
      });
      return button;
    });
    this.part(".strip").replaceChildren(...this.thumbs.map((button) => {
      const item = element("li");
      item.append(button);
      return item;
    }));
    this.part(".tree").hidden = !layers.length;
    this.part(".climb").hidden = layers.length > 0;
    this.patches = layers.map(() => element("canvas", { width: PATCH, height: PATCH }));
    this.part(".tree").replaceChildren(...(layers.length ? [element("h3", { textContent: `What ${target ?? top[0].label} rests on, layer by layer` }), this.branch(-1)] : []));
  }

  /** The layers that made the channels of layer number `above`. */
  branch(above) {
    const list = element("ul");
    const { layers } = this.clip;
    layers.forEach((layer, i) => {
      if (layer.below !== above) return;
      const deeper = layers.some(({ below }) => below === i);
      const depth = (number) => (number < 0 ? -1 : depth(layers[number].below) + 1);
      const name = depth(i) === 0 ? "Features" : `${depth(i)} ${depth(i) === 1 ? "layer" : "layers"} down`;
      const words = element("span", { textContent: `${name}: ${layer.channels} of ${layer.of} channels` });
      const named = layer.strongest.slice(0, 4).map(([channel, share]) => `no. ${channel} ${percent(share)}`).join(", ");
      words.append(element("small", { textContent: `most by ${named}` }));
      const item = element("li");
      const line = element(deeper ? "summary" : "div", { className: "layer" });
      line.append(this.patches[i], words);
      if (deeper) {
        const fold = element("details", { open: above < 0 });
        fold.append(line, this.branch(i));
        item.append(fold);
      } else item.append(line);
      list.append(item);
    });
    return list;
  }

  go(to) {
    if (!this.clip) return;
    this.at = Math.min(this.clip.pictures.length - 1, Math.max(0, to));
    this.slider.value = String(this.at);
    const words = since(this.clip.times_ms[this.at]);
    this.slider.setAttribute("aria-valuetext", words);
    write(this.part(".when output"), words);
    this.thumbs.forEach((button, i) => button.setAttribute("aria-current", String(i === this.at)));
    this.thumbs[this.at].scrollIntoView({ block: "nearest", inline: "nearest" });
    this.paintFrame();
  }

  play() {
    this.part(".play").setAttribute("aria-pressed", "true");
    const next = () => {
      const { times_ms: times } = this.clip;
      const to = (this.at + 1) % times.length;
      this.go(to);
      this.timer = setTimeout(next, to === times.length - 1 ? 1000 : SLOWER * (times[to] - times[to + 1]));
    };
    if (this.clip) next();
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    this.part(".play").setAttribute("aria-pressed", "false");
  }

  /** All of it anew: the looks have changed. */
  paint() {
    if (!this.clip || !this.node.open) return;
    this.thumbs.forEach((button, i) => this.paintOn(button.firstElementChild, i, this.clip.heats[i], this.clip.heat));
    this.paintFrame();
  }

  paintFrame() {
    const { heats, heat, layers, tree_heat: shape } = this.clip;
    this.paintOn(this.part(".frame"), this.at, heats[this.at], heat);
    this.patches.forEach((canvas, i) => this.paintOn(canvas, this.at, layers[i].heats[this.at], shape));
  }

  paintOn(canvas, i, values, [, height, width]) {
    const context = canvas.getContext("2d");
    const all = [0, 0, canvas.width, canvas.height];
    context.drawImage(this.clip.pictures[i], ...all);
    if (!settings.overlay) return;
    const heat = new Heat();
    heat.take(values, [height, width], "");
    heat.draw(context, all, all);
  }
}

/** The frame with the strongest evidence; the newest where there is none. */
function hottest(heats) {
  const highest = heats.map((values) => Math.max(...values));
  return Math.max(...highest) ? highest.indexOf(Math.max(...highest)) : heats.length - 1;
}

function since(before) {
  return before ? `−${(before / 1000).toFixed(2)} s` : "newest";
}
