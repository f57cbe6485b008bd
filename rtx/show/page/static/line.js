// The line to rtx: one WebSocket that is asked for views, lost and found again.

const WINDOW = 2; // answers on their way at once, as the server allows
const RETRY_MS = { first: 300, most: 5000 };

export class Line {
  /** `on`: `hello(message)`, `told(message)` of other texts, `view(view, heat, jpeg)`, `drawn()` after each,
   *  `held(header, data, begin)` of a clip, `lost(why)`. */
  constructor(on) {
    this.on = on;
    this.socket = null;
    this.retry = RETRY_MS.first;
    this.heard = null; // when the last view came; null before the first
    this.answered = 0; // answers that came whole and are drawn at the next refresh
    this.views = 0;
    this.asked = 0;
  }

  connect() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.listen(JSON.parse(data)) : this.receive(socket, data));
    socket.onclose = ({ code, reason }) => {
      this.answered = 0;
      this.heard = null;
      this.on.lost(code === 1013 && reason ? reason : "Connection lost");
      setTimeout(() => this.connect(), this.retry * (0.75 + Math.random() / 2));
      this.retry = Math.min(2 * this.retry, RETRY_MS.most);
    };
  }

  send(text) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(text);
    return true;
  }

  /** Ask again for each answer that was drawn. */
  goOn() {
    for (; this.answered > 0; this.answered -= 1) this.ask();
  }

  ask() {
    if (this.send("next")) this.asked += 1;
  }

  listen(message) {
    if (message.type !== "hello") {
      this.on.told(message);
      return;
    }
    this.retry = RETRY_MS.first;
    this.on.hello(message);
    for (let i = 0; i < WINDOW; i += 1) this.ask();
  }

  async receive(from, data) {
    this.heard = performance.now();
    const end = 4 + new DataView(data).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, end - 4)));
    if (header.type === "held") this.on.held(header, data, end);
    else await this.look(from, header, data, end);
  }

  async look(from, view, data, end) {
    this.views += 1;
    const size = view.heat[0] * view.heat[1];
    const jpeg = new Blob([new Uint8Array(data, end + size)], { type: "image/jpeg" });
    try {
      await this.on.view(view, new Uint8Array(data, end, size), jpeg);
    } finally {
      if (view.last && from === this.socket) this.answered += 1;
      this.on.drawn();
    }
  }
}
