// What was recorded: a list to choose from, and the clip again, slowly, with its heat drawn here.

import { byId, element, percent, write } from "./dom.js";
import { Heat } from "./heat.js";
import { settings } from "./settings.js";

const NEAR_MS = 1500; // a map speaks for frames so near

export class EventList {
  constructor(node) {
    this.node = node;
    this.player = new Player(byId("replay"));
    this.found = [];
    for (const id of ["event-camera", "event-label", "event-since"]) byId(id).addEventListener("change", () => this.load());
    byId("event-again").addEventListener("click", () => this.load());
  }

  /** By whom those who may steer can have a clip explained once more. */
  explainers(names) {
    this.player.offered = names;
  }

  async open() {
    this.node.showModal();
    await this.load();
  }

  async load() {
    const since = byId("event-since").value;
    const asked = new URLSearchParams({
      camera: byId("event-camera").value,
      label: byId("event-label").value,
      since: since ? new Date(since).toISOString() : "",
    });
    try {
      const answer = await fetch(`events?${asked}`);
      if (!answer.ok) throw new Error(await answer.text());
      this.show(await answer.json());
    } catch (error) {
      write(byId("event-said"), `The events cannot be had: ${error.message}`);
    }
  }

  show(found) {
    this.offer(byId("event-camera"), found.map(({ camera }) => camera));
    this.offer(byId("event-label"), found.map(({ label }) => label));
    write(byId("event-said"), found.length ? `${found.length} ${found.length > 1 ? "events" : "event"}, newest first` : this.none());
    byId("event-list").replaceChildren(...found.map((event) => this.row(event)));
  }

  /** Why the list is empty: nothing was recorded yet, or a filter leaves nothing. */
  none() {
    const filtered = ["event-camera", "event-label", "event-since"].some((id) => byId(id).value);
    return filtered ? "No event is like that. Choose another camera, class or time." : "No events. Record a camera, and they will be here.";
  }

  /** Choices grow with what was seen; what is chosen stays. */
  offer(select, values) {
    const known = new Set([...select.options].map(({ value }) => value));
    for (const value of new Set(values)) if (!known.has(value)) select.append(element("option", { value, textContent: value }));
  }

  row(event) {
    const button = element("button", { type: "button", disabled: event.state === "open" });
    const what = element("strong", { textContent: event.label });
    const state = { open: "going on, to be played when it is over", cut: "cut short" }[event.state];
    const facts = [event.camera, `${event.seconds.toFixed(1)} s`, percent(event.peak), state].filter(Boolean).join(" · ");
    button.append(element("time", { dateTime: event.start, textContent: local(event.start) }), what, element("span", { textContent: facts }));
    button.addEventListener("click", () => this.player.open(event));
    const item = element("li");
    item.append(button);
    return item;
  }
}

class Player {
  constructor(node) {
    this.node = node;
    this.video = node.querySelector("video");
    this.canvas = node.querySelector("canvas");
    this.heat = new Heat();
    this.moments = [];
    this.shown = null;
    this.by = node.querySelector(".by");
    this.offered = []; // explainers that there are, for those who may ask for one
    this.speed = node.querySelector(".speed");
    this.speed.addEventListener("change", ({ target }) => (this.video.playbackRate = Number(target.value)));
    this.by.addEventListener("change", () => this.explained(this.by.value));
    node.addEventListener("close", () => this.stop());
    this.video.addEventListener("error", () => write(node.querySelector(".said"), "The clip cannot be played; it may have been cut off or tidied away."));
    this.follow();
  }

  async open(event) {
    write(this.node.querySelector("h2"), `${event.label} on ${event.camera}, ${local(event.start)}`);
    this.event = event;
    this.wish = null;
    this.video.src = `events/${event.id}/plain.mp4`;
    this.video.playbackRate = Number(this.speed.value);
    this.node.querySelector("a").href = `events/${event.id}/overlay.mp4`;
    this.node.showModal();
    this.video.play().catch((error) => console.info("The clip waits to be started.", error));
    this.choices([]);
    await this.drawBy("");
    const state = await this.state();
    if (this.event === event && state) this.choices(state.made, this.drawn);
  }

  /** By whom it can be explained: as it was recorded, by those who did since, and those who may be asked. */
  choices(made, chosen = "") {
    const others = this.offered.filter((name) => name !== this.event.explainer && !made.includes(name));
    const named = [["", this.event.explainer], ...made.map((name) => [name, name]), ...others.map((name) => [name, `${name} (takes a while)`])];
    this.made = new Set(made);
    this.by.replaceChildren(...named.map(([value, textContent]) => element("option", { value, textContent })));
    this.by.value = chosen;
  }

  /** What is known of the event, and who explains it here. */
  says() {
    const { peak, motion_share: share, explainer, model } = this.event;
    const motion = share === null || this.drawn ? "" : `, ${percent(share)} of it motion`;
    write(this.node.querySelector(".of"), `${percent(peak)} at its height${motion} · ${this.drawn || explainer} · ${model}`);
  }

  async state() {
    const answer = await fetch(`events/${this.event.id}/explainers`).catch(() => null);
    return answer?.ok ? answer.json() : null;
  }

  /** The replay by this explainer, which may have to explain it first; until it has, the one before stays. */
  async explained(by) {
    const { event } = this;
    const said = this.node.querySelector(".said");
    const wish = (this.wish = {}); // what is chosen meanwhile takes its place
    const failed = (why) => {
      this.by.value = this.drawn;
      write(said, why);
    };
    if (by && !this.made.has(by)) {
      const answer = await fetch(`events/${event.id}/explainers?by=${encodeURIComponent(by)}`, { method: "POST" }).catch(() => null);
      if (wish !== this.wish || event !== this.event) return;
      if (!answer?.ok) return failed(answer ? await answer.text() : "There is no connection to rtx.");
      let state;
      do {
        write(said, `${by} explains the clip, beside what is live. Until then it is explained by ${this.drawn || event.explainer}.`);
        await new Promise((done) => setTimeout(done, 1000));
        state = await this.state();
        if (wish !== this.wish || event !== this.event || !this.node.open) return;
      } while (!state || (state.work?.event === event.id && state.work.state === "explaining"));
      this.choices(state.made, state.made.includes(by) ? by : this.drawn);
      if (!state.made.includes(by)) return failed(`${by} could not explain it: ${state.work?.state ?? "rtx was started anew"}`);
    }
    await this.drawBy(by);
  }

  /** The maps that this explainer made; those that were recorded, without one. */
  async drawBy(by) {
    const { event } = this;
    const asked = (this.asked = `${event.id} ${by}`);
    this.drawn = by;
    this.says();
    this.moments = [];
    this.shown = null;
    write(this.node.querySelector(".said"), "");
    const data = await fetch(`events/${event.id}/maps?by=${encodeURIComponent(by)}`).then(
      (answer) => (answer.ok ? answer.arrayBuffer() : null),
      () => null,
    );
    if (asked !== this.asked) return; // something else was asked for meanwhile
    if (data === null) {
      write(this.node.querySelector(".said"), "Its maps are not there (yet).");
      return;
    }
    const end = 4 + new DataView(data).getUint32(0, true);
    const { side, moments } = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, end - 4)));
    this.side = side;
    this.moments = moments.map((moment, i) => ({ ...moment, heat: new Uint8Array(data, end + i * side * side, side * side) }));
    this.draw();
  }

  stop() {
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
  }

  /** Draw with every new frame of the video, also while it is scrubbed. */
  follow() {
    if (this.video.requestVideoFrameCallback) {
      this.video.requestVideoFrameCallback((_, { mediaTime }) => {
        this.time = mediaTime;
        this.draw();
        this.follow();
      });
    } else {
      this.video.addEventListener("timeupdate", () => {
        this.time = this.video.currentTime;
        this.draw();
      });
    }
  }

  /** The map that speaks for what is shown: of the first clip that held the frame, else of the last before it. */
  moment() {
    const at = 1000 * (this.time ?? 0);
    const after = this.moments.findIndex(({ at_ms: t }) => t >= at - 1);
    const near = [this.moments[after], this.moments[(after < 0 ? this.moments.length : after) - 1]];
    return near.find((of) => of && Math.abs(of.at_ms - at) <= NEAR_MS);
  }

  draw() {
    const { video, canvas } = this;
    if (!video.videoWidth) return;
    if (canvas.width !== video.videoWidth || canvas.height !== video.videoHeight) {
      canvas.width = video.videoWidth;
      canvas.height = video.videoHeight;
    }
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    const moment = this.moment();
    const top = this.node.querySelector(".top");
    write(top, moment?.top.length ? `${moment.top[0].label}, ${percent(moment.top[0].p)}` : "");
    if (!moment || !settings.overlay) return;
    if (moment !== this.shown) {
      this.heat.take(moment.heat, [this.side, this.side], `${this.asked} ${moment.at_ms}`);
      this.shown = moment;
    } else this.heat.paint();
    this.heat.draw(context, moment.rect, moment.seen ?? moment.rect);
  }
}

/** In the reader's own time. */
function local(iso) {
  return new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}
