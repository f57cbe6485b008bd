// One camera on the wall: its newest picture with the heat over it, and in words what the network says of it.

import { byId, duration, percent, write } from "./dom.js";
import { Heat } from "./heat.js";
import { settings } from "./settings.js";
import { Trend } from "./trend.js";

const NEAR = 0.75; // of the budget: from there on the age is no longer green

export class Tile {
  /** `against(view)`: the class that the evidence speaks against. `budget()`: heatmap age in ms. */
  constructor(name, { against, budget }) {
    this.name = name;
    this.against = against;
    this.budget = budget;
    this.node = byId("tile").content.firstElementChild.cloneNode(true);
    this.node.dataset.camera = name;
    this.node.setAttribute("aria-label", name);
    this.canvas = this.part("canvas");
    this.canvas.setAttribute("aria-label", `Live picture of ${name}`);
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.heat = new Heat();
    this.trend = new Trend();
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
    this.heat.take(heat, view.heat, JSON.stringify([view.epoch, view.explainer, view.target]));
    if (view.top.length && this.trend.add(view.top)) this.drawTrends();
    this.dirty = true;
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
    if (settings.overlay && view.rect) this.heat.draw(context, view.rect, view.seen ?? view.rect);
    if (settings.truth && view.truth) this.drawTruth();
    if (view.inset) {
      const [left, top, right, bottom] = view.inset;
      context.drawImage(picture, left, top, right - left, bottom - top, left, top, right - left, bottom - top);
    }
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

  drawTrends() {
    this.node.querySelectorAll(".classes li").forEach((row, i) => {
      const top = this.view.top[i];
      if (top) this.trend.draw(row.querySelector(".trend"), top.label);
    });
  }

  /** What the view says, in words. */
  describe() {
    const { view } = this;
    this.part(".empty").hidden = view !== null;
    this.part(".facts").hidden = view === null;
    if (!view) return;
    state(this.part(".camera"), view.camera_state, "live", /lost/);
    state(this.part(".worker"), view.worker_state, "explaining", /silent|restart|gone/);
    const recorded = this.part(".recorded");
    write(recorded, view.recorded === "recording" ? "REC" : view.recorded && `not recording: ${view.recorded}`);
    recorded.dataset.level = view.recorded === "recording" ? "rec" : "wait";
    this.node.querySelectorAll(".classes li").forEach((row, i) => {
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
    else write(heat, view.target === null || !view.top.length ? "" : this.evidence());
    this.part("dl").hidden = view.heatmap_age_ms === null;
    this.part(".degraded").hidden = !view.degraded;
    write(this.part(".degraded"), view.degraded ? `To keep within the budget: ${view.degraded}` : "");
    fact(this.part(".behind"), view.misalignment_ms, duration);
    this.describeTruth();
    fact(this.part(".motion"), view.motion_share, percent);
    this.describeFaithfulness();
    write(this.part(".how"), [view.explainer, view.model, view.backend, view.precision].filter(Boolean).join(" · "));
    this.tick();
  }

  /** Which class the heat speaks for, how likely that is where it is none of those named above, and against which. */
  evidence() {
    const { target, target_p: p, top } = this.view;
    const likely = top.slice(0, 3).some(({ label }) => label === target) ? "" : ` (${percent(p)})`;
    const against = this.against(this.view);
    return `Heat: evidence for ${target}${likely}${against === null ? "" : `, not ${against}`}`;
  }

  /** How likely the class is where the hottest tenth of the clip is blanked, and where as much is blanked elsewhere. */
  describeFaithfulness() {
    const known = this.view.faithfulness;
    fact(this.part(".faithfulness"), known && known.hottest, percent);
    if (!known) return;
    const [whole, elsewhere] = [known.whole, known.elsewhere].map((share) => percent(share).replace(" ", "\u00a0"));
    write(this.part(".faithfulness .chance"), `of ${whole}; elsewhere ${elsewhere}`);
    write(this.part(".faithfulness .sample"), `${known.clips} ${known.clips === 1 ? "clip" : "clips"}, ${(100 * known.cost).toFixed(1)} % of the time`);
  }

  describeTruth() {
    const { truth, right, hits } = this.view;
    const node = this.part(".truth");
    node.hidden = truth === null;
    if (truth !== null) {
      node.dataset.right = right === null ? "" : String(right);
      write(this.part(".truth .mark"), right === null ? "" : right ? "✓" : "✗");
      write(this.part(".truth .words"), `Truth: ${truth.action}`);
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
    const late = this.view.late || age > this.budget();
    this.part(".age").dataset.level = late ? "bad" : age > NEAR * this.budget() ? "wait" : "good";
    const number = this.part(".age dd");
    if (!number.firstElementChild) number.append("", document.createElement("small"));
    write(number, duration(age));
    const uncertain = this.view.uncertainty_ms >= 1 ? ` ± ${Math.round(this.view.uncertainty_ms)} ms` : "";
    const smoothed = settings.smoothing ? ` smoothed over ${settings.smoothing} s` : "";
    write(number.lastElementChild, uncertain + (late ? " late" : "") + smoothed);
  }
}

function state(chip, words, good, bad) {
  write(chip, words);
  chip.dataset.level = words === good ? "good" : bad.test(words) ? "bad" : "wait";
}

function fact(node, value, words) {
  node.hidden = value === null;
  if (value !== null) write(node.querySelector("dd"), words(value));
}
