// The panel of cameras: which the run has; add, pause and remove them, for all viewers.

import { element } from "./dom.js";

const SURE_MS = 4000; // to remove takes a second press within so long

export class CameraPanel {
  /** `send(wish)` asks the supervisor; what the run has then comes to `show`. */
  constructor(node, send) {
    this.node = node;
    this.send = send;
    this.rows = "";
    this.name = node.querySelector("#camera-name");
    this.source = node.querySelector("#camera-source");
    node.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.wish("add", this.name.value.trim(), this.source.value.trim());
      this.adding = true;
    });
  }

  wish(what, name, source = "") {
    if (!this.send({ type: "camera", do: what, name, source })) this.say("There is no connection to rtx.", "bad");
  }

  say(words, level) {
    const status = this.node.querySelector("#camera-said");
    status.textContent = words;
    status.dataset.level = level;
    status.hidden = !words;
  }

  show({ seats, asked, refused, not_recording: trouble }) {
    const why = refused || (trouble && `Nothing is recorded: ${trouble}`);
    this.say(asked ? "Asking…" : why, why && !asked ? "bad" : "wait");
    if (this.adding && !asked) {
      this.adding = false;
      if (!refused) this.name.value = this.source.value = ""; // a password in it should not stay
    }
    const rows = JSON.stringify(seats.map(({ state, ...lasting }) => lasting));
    if (rows === this.rows) return;
    this.rows = rows;
    const focused = document.activeElement?.id;
    this.node.querySelector("#camera-list").replaceChildren(...seats.map((seat) => this.row(seat)));
    if (focused && document.activeElement === document.body) document.getElementById(focused)?.focus();
  }

  row({ name, source, paused, recording, trouble }) {
    const item = element("li");
    const words = element("p");
    words.append(element("strong", { textContent: name }), element("span", { textContent: trouble ? `given up: ${trouble}` : source }));
    const rest = element("button", { type: "button", id: `rest-${name}`, textContent: paused ? "Go on" : "Pause", hidden: Boolean(trouble) });
    rest.setAttribute("aria-label", `${rest.textContent}: ${name}`);
    rest.addEventListener("click", () => this.wish(paused ? "resume" : "pause", name));
    const away = element("button", { type: "button", id: `away-${name}`, textContent: "Remove" });
    away.setAttribute("aria-label", `Remove ${name}`);
    away.addEventListener("click", () => {
      if (away.textContent !== "Remove") {
        this.wish("remove", name);
        return;
      }
      away.textContent = "Really?";
      away.setAttribute("aria-label", `Really remove ${name}?`);
      setTimeout(() => {
        away.textContent = "Remove";
        away.setAttribute("aria-label", `Remove ${name}`);
      }, SURE_MS);
    });
    const keep = element("button", { type: "button", id: `keep-${name}`, textContent: recording ? "Stop recording" : "Record" });
    keep.setAttribute("aria-label", `${keep.textContent}: ${name}`);
    keep.addEventListener("click", () => this.wish(recording ? "unrecord" : "record", name));
    item.append(words, keep, rest, away);
    return item;
  }
}
