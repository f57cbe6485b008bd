// Small words about the document: finding parts, writing text, saying numbers.

export const byId = (id) => document.getElementById(id);

export function element(kind, properties = {}) {
  return Object.assign(document.createElement(kind), properties);
}

/** Text into a node's first text node, touched only where it changed. What comes from outside is only ever text. */
export function write(node, text) {
  if (node.firstChild?.nodeType !== Node.TEXT_NODE) node.prepend("");
  if (node.firstChild.data !== text) node.firstChild.data = text;
}

export function percent(share) {
  return `${Math.round(100 * share)} %`;
}

export function duration(ms) {
  return ms < 10000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
