// What the reader of this page has set: kept by this browser, never sent anywhere.

const share = (value) => typeof value === "number" && value >= 0 && value <= 1;
const truth = (value) => typeof value === "boolean";
const oneOf = (...known) => (value) => known.includes(value);

const KNOWN = {
  overlay: { otherwise: true, fits: truth },
  opacity: { otherwise: null, fits: share }, // null: as the run says
  display: { otherwise: null, fits: oneOf("heat", "focus") },
  colours: { otherwise: null, fits: (value) => typeof value === "string" },
  threshold: { otherwise: 0, fits: share }, // of full heat; less is not drawn
  smoothing: { otherwise: 0, fits: (value) => typeof value === "number" && value >= 0 && value <= 5 }, // half-life in s
  truth: { otherwise: false, fits: truth },
  theme: { otherwise: "auto", fits: oneOf("auto", "dark", "light") },
  announce: { otherwise: false, fits: truth },
};

export const settings = Object.fromEntries(Object.keys(KNOWN).map((key) => [key, recall(key)]));
const listeners = [];

/** Be told the key of what was changed. */
export function onChange(listener) {
  listeners.push(listener);
}

export function change(key, value) {
  settings[key] = value;
  try {
    localStorage.setItem(`rtx.${key}`, JSON.stringify(value));
  } catch (error) {
    console.info("This browser will not remember the setting.", error);
  }
  listeners.forEach((listener) => listener(key));
}

/** What the run says, where the reader has said nothing. */
export function suggest(suggested) {
  for (const [key, value] of Object.entries(suggested)) settings[key] ??= value;
  listeners.forEach((listener) => listener(null));
}

/** A browser that keeps nothing for pages throws at the mere mention of its storage; what is kept may be of another version. */
function recall(key) {
  const { otherwise, fits } = KNOWN[key];
  try {
    const value = JSON.parse(localStorage.getItem(`rtx.${key}`));
    return fits(value) ? value : otherwise;
  } catch {
    return otherwise;
  }
}
