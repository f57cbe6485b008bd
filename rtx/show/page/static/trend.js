// How likely each class was over the last minute, as a line beside its bar.

const SPAN_MS = 60000;
const EVERY_MS = 250;

export class Trend {
  constructor() {
    this.past = []; // { at, p: class -> probability }
  }

  add(top) {
    const at = performance.now();
    if (this.past.length && at - this.past.at(-1).at < EVERY_MS) return false;
    this.past.push({ at, p: new Map(top.map(({ label, p }) => [label, p])) });
    while (at - this.past[0].at > SPAN_MS) this.past.shift();
    return true;
  }

  /** The line of one class; where it was not among the likeliest, or nothing was heard, there is none. */
  draw(canvas, label) {
    const context = canvas.getContext("2d");
    const { width, height } = canvas;
    const now = performance.now();
    context.clearRect(0, 0, width, height);
    context.strokeStyle = getComputedStyle(canvas).color;
    context.lineWidth = 2;
    context.lineJoin = "round";
    context.beginPath();
    let last = null;
    for (const { at, p } of this.past) {
      const value = p.get(label);
      if (value === undefined) {
        last = null;
        continue;
      }
      const x = width * (1 - (now - at) / SPAN_MS);
      const y = 1 + (height - 2) * (1 - value);
      if (last === null || at - last > 8 * EVERY_MS) context.moveTo(x - 1, y);
      context.lineTo(x, y);
      last = at;
    }
    context.stroke();
  }
}
