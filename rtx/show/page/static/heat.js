// A small relevance map as a picture: smoothed over time, cut at a threshold, coloured; drawn over what the network saw.

import { settings } from "./settings.js";

const GAP_MS = 2000; // after so long without a map, what was is not smoothed into what comes

/** How heat looks in this run: brightness of what the network did not see, what a focused picture keeps (of 255), palettes. */
export const look = { dim: 1, darkest: 0, palettes: {} };

const tables = new Map(); // of a palette: 256 pixels, red green blue

export function palette() {
  const name = settings.colours in look.palettes ? settings.colours : Object.keys(look.palettes)[0];
  if (!tables.has(name)) tables.set(name, new Uint8Array(look.palettes[name] ?? 768));
  return tables.get(name);
}

export function forgetPalettes() {
  tables.clear();
}

export class Heat {
  constructor() {
    this.canvas = document.createElement("canvas");
    this.shape = [0, 0];
    this.values = new Uint8Array(0); // as they came
    this.mean = new Float32Array(0); // over time
    this.of = ""; // what made them: maps of different makers are not mixed
    this.at = 0;
  }

  /** The newest map, one byte a cell; `of`: what made it. */
  take(values, shape, of) {
    const at = performance.now();
    const apart = of !== this.of || values.length !== this.mean.length || at - this.at > GAP_MS;
    const share = apart || !settings.smoothing ? 1 : 1 - 0.5 ** ((at - this.at) / 1000 / settings.smoothing);
    if (values.length !== this.mean.length) this.mean = new Float32Array(values.length);
    for (let i = 0; i < values.length; i += 1) this.mean[i] += share * (values[i] - this.mean[i]);
    Object.assign(this, { values, shape, of, at });
    this.paint();
  }

  /** Heat: colours, with the value as alpha; the opacity comes in when it is drawn. Focus: darkness, where it is low. */
  paint() {
    const [height, width] = this.shape;
    if (!height || !width) return;
    const focus = settings.display === "focus";
    const least = Math.max(255 * settings.threshold, 0.5);
    const kept = this.mean.map((value) => (value < least ? 0 : value));
    this.any = kept.some((value) => value > 0);
    this.canvas.width = width;
    this.canvas.height = height;
    if (focus && !this.any) return;
    const context = this.canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const colours = palette();
    kept.forEach((value, i) => {
      const level = Math.round(value);
      if (!focus) image.data.set(colours.subarray(3 * level, 3 * level + 3), 4 * i);
      image.data[4 * i + 3] = focus ? (255 - look.darkest) * (1 - value / 255) : level;
    });
    context.putImageData(image, 0, 0);
  }

  /** Over a picture: `rect` is where the map lies, `seen` the part of the picture that the network was shown. */
  draw(context, rect, seen) {
    const { canvas } = context;
    const focus = settings.display === "focus";
    const left = Math.max(0, Math.round(seen[0]));
    const top = Math.max(0, Math.round(seen[1]));
    const right = Math.min(canvas.width, Math.round(seen[0] + seen[2]));
    const bottom = Math.min(canvas.height, Math.round(seen[1] + seen[3]));
    const inside = [left, top, Math.max(0, right - left), Math.max(0, bottom - top)];
    context.save();
    context.fillStyle = `rgb(0 0 0 / ${1 - (focus && this.any ? look.darkest / 255 : look.dim)})`;
    context.beginPath();
    context.rect(0, 0, canvas.width, canvas.height);
    context.rect(...inside);
    context.fill("evenodd");
    context.beginPath();
    context.rect(...inside);
    context.clip();
    context.globalAlpha = focus ? 1 : settings.opacity;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.canvas, ...rect);
    context.restore();
  }
}
