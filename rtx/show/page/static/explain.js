// The panel in which one chooses what is explained: made from the explainers' declarations, the same for all viewers.

const SOON_MS = 250; // a slider in motion asks at most so often
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
    this.soon = null;
    this.explainer = node.querySelector("#explainer");
    this.target = node.querySelector("#target");
    this.explainer.addEventListener("change", () => this.ask([link(this.explainer.value), ...this.state.chain.slice(1)]));
    this.target.addEventListener("change", () => this.ask(this.state.chain));
    node.querySelector("#target-clear").addEventListener("click", () => {
      this.target.value = "";
      this.ask(this.state.chain);
    });
  }

  /** What there is to choose from. */
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
    if (this.state) this.show(this.state);
  }

  /** What is explained, as the worker says. What somebody is typing or dragging is left alone. */
  show(state) {
    const before = this.state;
    this.state = state;
    const status = this.node.querySelector("#choice");
    status.textContent = state.asked ? "Asking the worker…" : state.refused;
    status.dataset.level = state.refused && !state.asked ? "bad" : "wait";
    status.hidden = !status.textContent;
    if (!this.declared.size) return;
    const [first, ...steps] = state.chain;
    const declared = this.declared.get(first.name);
    const alike = before && this.shown === JSON.stringify(state.chain) && !state.refused;
    this.explainer.value = first.name;
    this.node.querySelector("#explainer-says").textContent = plain(declared.shows);
    this.node.querySelector("#explainer-paper").textContent = declared.paper;
    this.target.disabled = declared.class_blind;
    this.target.placeholder = declared.class_blind ? "class-blind" : "the likeliest";
    if (document.activeElement !== this.target) this.target.value = this.className(state.target) ?? "";
    this.node.querySelector("#target-clear").hidden = !this.target.value;
    this.node.querySelector("#as-text").textContent = this.asText(state);
    if (alike || this.busy()) return;
    this.shown = JSON.stringify(state.chain);
    this.node.querySelector("#parameters").replaceChildren(...this.controls(declared, first));
    const offered = [...this.declared.values()].filter((of) => of.reads === null);
    this.node.querySelector("#steps").replaceChildren(...offered.map((step) => this.step(step, steps)));
  }

  /** The class that the present evidence speaks against: its name, or words for it; null where there is none. */
  get against() {
    const [first] = this.state?.chain ?? [];
    if (first?.name !== "contrast") return null;
    return this.className(first.parameters.against) ?? "the strongest other";
  }

  /** A slider that is held would jump under the hand. */
  busy() {
    const active = document.activeElement;
    return this.soon !== null || (active?.type === "range" && this.node.contains(active) && active.matches(":active"));
  }

  className(target) {
    return /^\d+$/.test(String(target)) ? (this.labels[Number(target)] ?? target) : target;
  }

  /** A step after the explainer: a switch, and its parameters while it is on. */
  step(declared, steps) {
    const on = steps.find((of) => of.name === declared.name);
    const box = element("input", { type: "checkbox", checked: Boolean(on), id: `step-${declared.name}` });
    box.addEventListener("change", () => {
      const others = this.state.chain.filter((of) => of.name !== declared.name);
      this.ask(box.checked ? [...others, link(declared.name)] : others);
    });
    const label = element("label", { className: "switch", title: plain(declared.shows) });
    label.append(box, declared.name);
    const node = element("div", { className: "step" });
    node.append(label, ...(on ? this.controls(declared, on) : []));
    return node;
  }

  controls(declared, chosen) {
    return declared.parameters.map((parameter) => this.control(parameter, chosen));
  }

  /** One parameter: a slider, a choice, a switch or a field, as its declaration says. */
  control(parameter, chosen) {
    const value = chosen.parameters[parameter.name] ?? parameter.default;
    const id = `${chosen.name}-${parameter.name}`;
    const output = element("output", { textContent: said(value) });
    const set = (next, wait = 0) => {
      output.textContent = said(next);
      const changed = { ...chosen, parameters: { ...chosen.parameters, [parameter.name]: next } };
      this.ask(this.state.chain.map((of) => (of.name === chosen.name ? changed : of)), wait);
    };
    const input = this.input(parameter, value, set);
    input.id = id;
    const label = element("label", { className: "parameter", htmlFor: id });
    label.append(element("span", { textContent: parameter.name }), input);
    if (input.type === "range") label.append(output);
    const node = element("div", { className: "control" });
    node.append(label);
    if (value !== parameter.default) {
      const back = element("button", { type: "button", className: "back", textContent: "↺", title: `As declared: ${said(parameter.default)}` });
      back.setAttribute("aria-label", `${parameter.name} as declared: ${said(parameter.default)}`);
      back.addEventListener("click", () => set(parameter.default));
      node.append(back);
    }
    return node;
  }

  input(parameter, value, set) {
    const { kind, low, high } = parameter;
    if (kind === "switch") {
      const box = element("input", { type: "checkbox", checked: value });
      box.addEventListener("change", () => set(box.checked));
      return box;
    }
    if (kind === "choice") {
      const select = element("select");
      select.append(...parameter.choices.map((of) => element("option", { value: of, textContent: of })));
      select.value = value;
      select.addEventListener("change", () => set(select.value));
      return select;
    }
    if (kind === "class" || kind === "layer") {
      const empty = kind === "class" ? "the strongest other" : "the last";
      const field = element("input", { type: "text", value: (kind === "class" ? this.className(value) : value) ?? "", placeholder: empty, autocomplete: "off" });
      if (kind === "class") field.setAttribute("list", "labels");
      field.addEventListener("change", () => set(field.value.trim() || null));
      return field;
    }
    if (kind === "integer" && high - low > 100) {
      const field = element("input", { type: "number", min: low, max: high, step: 1, value });
      field.addEventListener("change", () => field.value !== "" && set(Number(field.value)));
      return field;
    }
    const scale = new Scale(low, high, kind === "integer");
    const slider = element("input", { type: "range", min: 0, max: scale.steps, step: 1, value: scale.position(value ?? (low + high) / 2) });
    const words = () => slider.setAttribute("aria-valuetext", said(scale.value(Number(slider.value))));
    words();
    slider.addEventListener("input", () => {
      words();
      set(scale.value(Number(slider.value)), SOON_MS);
    });
    return slider;
  }

  /** Ask for this chain. With `wait`, only the last of several is sent. */
  ask(chain, wait = 0) {
    const declared = this.declared.get(chain[0].name);
    const target = declared.class_blind ? null : this.target.value.trim() || null;
    this.state = { ...this.state, chain, target };
    clearTimeout(this.soon);
    const go = () => {
      this.soon = null;
      this.shown = null; // whatever comes of it is shown
      this.send({ chain, target });
    };
    if (wait) this.soon = setTimeout(go, wait);
    else go();
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

function element(kind, properties = {}) {
  return Object.assign(document.createElement(kind), properties);
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
