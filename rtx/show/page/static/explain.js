// The panel in which one chooses what is explained: made from the explainers' declarations, the same for all viewers.

import { element } from "./dom.js";

const SOON_MS = 250; // a slider in motion, or a list that is gone through by keys, asks at most so often
const READS = {
  features: "Quick: from the classifier's own features",
  gradients: "With gradients: back through the network",
  "layer inputs": "By propagation: the score handed back, layer by layer",
};

export class ExplainPanel {
  /** `send(wish)` asks the worker; what becomes of it comes to `show`. */
  constructor(node, send) {
    this.node = node;
    this.send = send;
    this.declared = new Map();
    this.state = null;
    this.names = null; // of the chain that there are controls of
    this.updates = [];
    this.soon = null; // a timer, while something is to be asked
    this.wish = null; // what, then
    this.kept = null; // the class that was asked for last, over explainers that have none
    this.explainer = node.querySelector("#explainer");
    this.target = node.querySelector("#target");
    this.explainer.addEventListener("change", () => this.ask([link(this.explainer.value), ...this.state.chain.slice(1)], SOON_MS));
    this.target.addEventListener("change", () => this.askOf(this.target.value.trim() || null));
    this.target.addEventListener("blur", () => this.paint(this.state));
    node.querySelector("#target-clear").addEventListener("click", () => {
      this.target.focus();
      this.target.value = "";
      this.askOf(null);
    });
  }

  /** What there is to choose from. Nothing can be chosen before it is known what is explained. */
  offer({ explainers, labels }) {
    this.declared = new Map(explainers.map((of) => [of.name, of]));
    this.labels = labels;
    this.node.querySelector("#labels").replaceChildren(...labels.map((name) => element("option", { value: name })));
    const groups = Object.entries(READS).map(([reads, label]) => {
      const names = explainers.filter((of) => of.reads === reads).map((of) => element("option", { value: of.name, textContent: of.name }));
      const group = element("optgroup", { label });
      group.append(...names);
      return group;
    });
    this.explainer.replaceChildren(...groups);
    this.names = null;
    if (this.state) this.paint(this.state);
  }

  /** What is explained, as the worker says, or what it was asked for. */
  show(state) {
    if (this.soon === null) this.paint(state); // else something other is on its way
  }

  paint(state) {
    this.state = state;
    if (!this.declared.get(state.chain[0].name)?.class_blind) this.kept = state.target;
    const status = this.node.querySelector("#choice");
    status.textContent = state.asked ? "Asking the worker…" : state.refused;
    status.dataset.level = state.refused && !state.asked ? "bad" : "wait";
    status.hidden = !status.textContent;
    if (!this.declared.size) return;
    const [first] = state.chain;
    const declared = this.declared.get(first.name);
    this.explainer.disabled = false;
    this.explainer.value = first.name;
    this.node.querySelector("#explainer-says").textContent = plain(declared.shows);
    this.node.querySelector("#explainer-paper").textContent = declared.paper;
    this.target.disabled = declared.class_blind;
    this.target.placeholder = declared.class_blind ? "class-blind" : "the likeliest";
    if (document.activeElement !== this.target) this.target.value = this.className(state.target) ?? "";
    this.node.querySelector("#target-clear").hidden = !this.target.value;
    this.node.querySelector("#as-text").textContent = this.asText(state);
    const names = state.chain.map(({ name }) => name).join(" | ");
    if (names !== this.names) this.build(names);
    this.updates.forEach((update) => update());
  }

  /** Controls of this chain. */
  build(names) {
    this.names = names;
    this.updates = [];
    const focused = document.activeElement?.id;
    const offered = [...this.declared.values()].filter((of) => of.reads === null);
    this.node.querySelector("#parameters").replaceChildren(...this.controls(this.state.chain[0].name));
    this.node.querySelector("#steps").replaceChildren(...offered.map((step) => this.step(step)));
    if (focused && document.activeElement === document.body) document.getElementById(focused)?.focus();
  }

  /** The class that a view's evidence speaks against: its name, or words for it; null where there is none. */
  against({ explainer }) {
    if (!explainer.startsWith("contrast")) return null;
    const number = /^contrast\([^)]*against=(\d+)/.exec(explainer)?.[1];
    return number === undefined ? "the strongest other" : this.className(Number(number));
  }

  /** A class by its name; the worker says some by number. */
  className(target) {
    return typeof target === "number" ? (this.labels[target] ?? target) : target;
  }

  /** A step after the explainer: a switch, and its parameters while it is on. */
  step({ name, shows }) {
    const on = Boolean(this.called(name));
    const box = element("input", { type: "checkbox", checked: on, id: `step-${name}` });
    box.addEventListener("change", () => {
      const others = this.state.chain.filter((of) => of.name !== name);
      this.ask(box.checked ? [...others, link(name)] : others);
    });
    const label = element("label", { className: "switch", title: plain(shows) });
    label.append(box, name);
    const node = element("div", { className: "step" });
    node.append(label, ...(on ? this.controls(name) : []));
    return node;
  }

  called(name) {
    return this.state.chain.find((of) => of.name === name);
  }

  controls(name) {
    return this.declared.get(name).parameters.map((parameter) => this.control(name, parameter));
  }

  /** One parameter: a slider, a choice, a switch or a field, as its declaration says, and the way back. */
  control(name, parameter) {
    const set = (value, wait = 0) => {
      const changed = { name, parameters: { ...this.called(name).parameters, [parameter.name]: value } };
      this.ask(this.state.chain.map((of) => (of.name === name ? changed : of)), wait);
    };
    const { input, update } = this.input(parameter, set);
    input.id = `${name}-${parameter.name}`;
    const label = element("label", { className: "parameter", htmlFor: input.id });
    label.append(element("span", { textContent: parameter.name }), input);
    const output = element("output");
    if (input.type === "range") label.append(output);
    const words = `${parameter.name} as declared: ${said(parameter.default)}`;
    const back = element("button", { type: "button", className: "back", textContent: "↺", title: words });
    back.setAttribute("aria-label", words);
    back.addEventListener("click", () => {
      set(parameter.default);
      input.focus();
    });
    this.updates.push(() => {
      const value = this.called(name).parameters[parameter.name] ?? parameter.default;
      update(value);
      output.textContent = said(value);
      if (input.type === "range") input.setAttribute("aria-valuetext", said(value));
      back.hidden = value === parameter.default;
    });
    const node = element("div", { className: "control" });
    node.append(label, back);
    return node;
  }

  /** What sets one parameter, and how it is made to show a value. What somebody types or drags is left alone. */
  input({ kind, choices, low, high }, set) {
    if (kind === "switch") {
      const input = element("input", { type: "checkbox" });
      input.addEventListener("change", () => set(input.checked));
      return { input, update: (value) => (input.checked = value) };
    }
    if (kind === "choice") {
      const input = element("select");
      input.append(...choices.map((of) => element("option", { value: of, textContent: of })));
      input.addEventListener("change", () => set(input.value));
      return { input, update: (value) => (input.value = value) };
    }
    if (kind === "class" || kind === "layer") {
      const input = element("input", { type: "text", placeholder: kind === "class" ? "strongest other" : "the last", autocomplete: "off", maxLength: 200 });
      if (kind === "class") input.setAttribute("list", "labels");
      input.addEventListener("change", () => set(input.value.trim() || null));
      input.addEventListener("blur", () => this.paint(this.state));
      const words = (value) => (kind === "class" ? this.className(value) : value) ?? "";
      return { input, update: (value) => document.activeElement !== input && (input.value = words(value)) };
    }
    if (kind === "integer" && high - low > 100) {
      const input = element("input", { type: "number", min: low, max: high, step: 1 });
      input.addEventListener("change", () => input.value !== "" && set(Number(input.value)));
      return { input, update: (value) => document.activeElement !== input && (input.value = value) };
    }
    const scale = new Scale(low, high, kind === "integer");
    const input = element("input", { type: "range", min: 0, max: scale.steps, step: 1 });
    input.addEventListener("input", () => set(scale.value(Number(input.value)), SOON_MS));
    const held = () => this.soon !== null || input.matches(":active");
    return { input, update: (value) => held() || (input.value = scale.position(value ?? (low + high) / 2)) };
  }

  /** Ask for another class. */
  askOf(target) {
    this.kept = target;
    this.ask(this.state.chain);
  }

  /** Ask for this chain; what is asked meanwhile goes instead. */
  ask(chain, wait = 0) {
    const target = this.declared.get(chain[0].name).class_blind ? null : this.kept;
    this.wish = { type: "explain", chain, target };
    if (!wait) clearTimeout(this.soon);
    if (!wait || this.soon === null) {
      this.soon = setTimeout(() => {
        this.soon = null;
        this.send(this.wish);
      }, wait);
    }
    this.paint({ chain, target, asked: true, refused: "" });
  }

  /** As the command line takes it. */
  asText({ chain, target }) {
    const links = chain.map(({ name, parameters }) => {
      const declared = this.declared.get(name)?.parameters ?? [];
      const changed = declared.filter((of) => (parameters[of.name] ?? of.default) !== of.default);
      const inside = changed.map((of) => `${of.name}=${literal(of.kind === "class" ? this.className(parameters[of.name]) : parameters[of.name])}`);
      return inside.length ? `${name}(${inside.join(", ")})` : name;
    });
    const of = target === null ? "" : ` --target ${quoted(this.className(target))}`;
    return `--explainer ${quoted(links.join(" | "))}${of}`;
  }
}

/** Positions of a slider: even steps of a round size, or even ratios where the range spans orders of magnitude. */
class Scale {
  constructor(low, high, whole) {
    this.low = low;
    this.high = high;
    this.ratio = low > 0 && high / low >= 1000;
    this.size = whole ? 1 : 10 ** Math.floor(Math.log10(high - low)) / 20;
    this.steps = this.ratio ? 80 : Math.ceil((high - low) / this.size - 1e-9);
  }

  value(position) {
    const value = this.ratio ? this.low * (this.high / this.low) ** (position / this.steps) : this.low + position * this.size;
    return Number(Math.min(this.high, value).toPrecision(3));
  }

  position(value) {
    return Math.round(this.ratio ? (Math.log(value / this.low) / Math.log(this.high / this.low)) * this.steps : (value - this.low) / this.size);
  }
}

function link(name) {
  return { name, parameters: {} };
}

function said(value) {
  return value === null ? "as the model's card says" : String(value);
}

/** As Python writes it. */
function literal(value) {
  if (typeof value === "boolean") return value ? "True" : "False";
  if (value === null) return "None";
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

/** As a shell takes it. */
function quoted(text) {
  return /^[\w.-]+$/.test(text) ? text : `'${String(text).replaceAll("'", `'\\''`)}'`;
}

/** What an explainer shows, in words: its summary without marks and without the map's shape. */
function plain(text) {
  return text.replaceAll("`", "").replace(/[:;] map N .*$/, ".");
}
