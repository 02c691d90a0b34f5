// The browser's side of the WebSocket protocol: one connection at a time to one of the nodes, resumed by cursor; commands
// that were not acknowledged are kept (also across a reload) and repeated with the same number.

const VERSION = 1;
const SPAN_MAX = 48; // numbers between the oldest without an answer and the next: within the cluster's memory
const CONNECT_MS = 3000;
const PING_MS = 4000;
const SILENCE_MS = 10000;
const PAUSE_FIRST_MS = 50;
const PAUSE_MAX_MS = 3000;
const ENTRIES_KEPT = 300;

/** A name for what belongs to one bearer of tokens. Nothing is checked here: the node does that. */
function bearer(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const { tenant, role, sub } = JSON.parse(atob(payload));
    return `${tenant}/${role}/${sub}`;
  } catch {
    return "unknown";
  }
}

/** A node, with or without scheme and path: its socket. */
function endpoint(node) {
  const [, scheme, rest] = /^(?:(\w+):\/\/)?([^/]+)/.exec(node.trim()) ?? [];
  if (!rest) return null;
  const secure = scheme ? scheme === "https" || scheme === "wss" : location.protocol === "https:";
  return `${secure ? "wss" : "ws"}://${rest}/v1/ws`;
}

function load(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key));
  } catch {
    return null;
  }
}

/** `true`: this page alone uses the instance. A duplicated tab copies the storage of the first. */
async function alone(name) {
  if (!navigator.locks) return performance.getEntriesByType("navigation")[0]?.type === "reload";
  return new Promise((done) => {
    const patience = new AbortController();
    setTimeout(() => patience.abort(), 700); // the page before a reload may still be going
    navigator.locks
      .request(name, { signal: patience.signal }, () => {
        done(true);
        return new Promise(() => {}); // as long as the page lives
      })
      .catch(() => done(false));
  });
}

export class Connection {
  /** on: { status(text or null), welcome(frame), frame(frame), changed(conversation), refused(code, detail) } */
  constructor(token, nodes, on) {
    this.token = token;
    this.on = on;
    this.urls = nodes.map(endpoint).filter(Boolean);
    if (!this.urls.length) this.urls = [endpoint(location.host)];
    this.at = 0;
    this.key = `kaiwa:${location.pathname}:${bearer(token)}`;
    this.failures = 0;
    this.socket = null;
    this.clockOffset = 0;
    this.waiting = []; // commands without a number
    this.out = new Map(); // number → { frame, repeatAt }
    this.busy = new Set(); // conversations with a command out
    this.settle = new Map(); // command → { resolve, reject }
    this.entries = new Map(); // conversation → entries, in order
    this.agentSeq = undefined;
    this.wanted = new Set();
  }

  /** Begins; never ends, unless the token is refused. */
  async start() {
    const stored = load(this.key);
    const own = stored && (await alone(`${this.key}:${stored.instance}`));
    if (own) {
      this.instance = stored.instance;
      this.nextNumber = stored.nextNumber;
      for (const { number, frame } of stored.commands) {
        const command = { ...frame };
        if (number) {
          this.out.set(number, { frame: command, repeatAt: 0 });
          this.busy.add(lane(command));
        } else {
          this.waiting.push(command);
        }
      }
      for (const [conversation, entries] of load(`${this.key}:entries`) ?? []) this.entries.set(conversation, entries);
      this.agentSeq = stored.agentSeq;
    } else {
      const [high, low] = crypto.getRandomValues(new Uint32Array(2));
      this.instance = (high & 0x1fffff) * 2 ** 32 + low;
      this.nextNumber = 1;
      await alone(`${this.key}:${this.instance}`);
    }
    this.save();
    addEventListener("pagehide", () => this.saveEntries());
    setInterval(() => this.tick(), 500);
    this.connect();
  }

  // ---- what pages use

  now() {
    return Date.now() + this.clockOffset;
  }

  /** Sends a command, now or when it can be; the promise is its acknowledgement. Not fulfilled across a reload. */
  command(frame) {
    const command = { ...frame };
    const promise = new Promise((resolve, reject) => this.settle.set(command, { resolve, reject }));
    this.waiting.push(command);
    this.save();
    this.pump();
    return promise;
  }

  /** Says what need not arrive. */
  say(frame) {
    if (frame.type === "follow") this.wanted.add(frame.conversation);
    this.write(0, frame);
  }

  /** Commands without an acknowledgement, oldest first. */
  pending() {
    return [...[...this.out.values()].map(({ frame }) => frame), ...this.waiting];
  }

  entriesOf(conversation) {
    return this.entries.get(conversation) ?? [];
  }

  forget(conversation) {
    this.wanted.delete(conversation);
    this.entries.delete(conversation);
    this.saveSoon();
  }

  // ---- connecting

  connect() {
    const url = this.urls[this.at % this.urls.length];
    const socket = new WebSocket(url, ["kaiwa.v1"]);
    this.socket = socket;
    this.greeted = false;
    this.heardAt = this.beganAt = performance.now();
    this.pingedAt = 0;
    socket.onopen = () => {
      const conversations = {};
      for (const [conversation, entries] of this.entries) {
        const last = entries.at(-1);
        if (last) conversations[conversation] = last.seq;
      }
      this.send(0, {
        type: "hello",
        token: this.token,
        instance: this.instance,
        resume: { conversations, ...(this.agentSeq === undefined ? {} : { agent_seq: this.agentSeq }) },
      });
    };
    socket.onmessage = ({ data }) => {
      if (this.socket !== socket) return;
      this.heardAt = performance.now();
      this.received(JSON.parse(data));
    };
    socket.onclose = ({ code, reason }) => {
      if (this.socket === socket) this.lost(code === 1008 && reason === "token_expired" ? reason : null);
    };
  }

  lost(final) {
    this.socket.onclose = this.socket.onmessage = this.socket.onopen = null;
    this.socket.close();
    this.socket = null;
    if (final) return this.refuse(final, "The token has ended.");
    this.failures = this.greeted ? 0 : this.failures + 1;
    // Who was told where to go (or that this node goes) has chosen the next already.
    if (!this.leaving) this.at += 1;
    const rounds = Math.floor(this.failures / this.urls.length);
    const longest = Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** Math.min(rounds, 10));
    const pause = Math.random() * longest;
    this.leaving = false;
    this.on.status("Connection lost. Reconnecting …");
    setTimeout(() => this.connect(), pause);
  }

  refuse(code, detail) {
    if (this.socket) {
      this.socket.onclose = null;
      this.socket.close();
    }
    this.socket = null;
    this.ended = true;
    this.on.refused(code, detail);
  }

  tick() {
    if (this.ended || !this.socket) return;
    const now = performance.now();
    if (!this.greeted) {
      if (now - this.beganAt > CONNECT_MS) this.lost();
      return;
    }
    if (now - this.heardAt > SILENCE_MS) return this.lost();
    if (now - Math.max(this.heardAt, this.pingedAt) > PING_MS) {
      this.pingedAt = now;
      this.write(0, { type: "ping" });
    }
    this.pump();
  }

  // ---- reading

  received(frame) {
    switch (frame.type) {
      case "welcome":
        return this.welcome(frame);
      case "ack":
        return this.answered(frame, (settle) => settle.resolve(frame));
      case "error":
        return this.error(frame);
      case "entry":
        return this.entry(frame);
      case "drain":
        return this.drain(frame);
      case "pong":
        return undefined;
    }
    if (frame.agent_seq !== undefined) {
      if (frame.type !== "desk" && this.agentSeq !== undefined && frame.agent_seq <= this.agentSeq) return undefined;
      this.agentSeq = frame.agent_seq;
      this.saveSoon();
    }
    return this.on.frame(frame);
  }

  welcome(frame) {
    this.greeted = true;
    this.failures = 0;
    this.clockOffset = frame.at_ms - Date.now();
    for (const url of frame.nodes.map(endpoint)) if (url && !this.urls.includes(url)) this.urls.push(url);
    this.on.status(null);
    this.on.welcome(frame);
    for (const conversation of this.wanted) {
      this.write(0, { type: "follow", conversation, cursor: this.entriesOf(conversation).at(-1)?.seq ?? 0 });
    }
    for (const out of this.out.values()) out.repeatAt = 0;
    this.pump();
  }

  entry(frame) {
    const entries = this.entriesOf(frame.conversation);
    const have = entries.at(-1)?.seq ?? 0;
    if (frame.seq <= have) return;
    if (frame.prev > have) {
      this.write(0, { type: "follow", conversation: frame.conversation, cursor: have });
      return;
    }
    entries.push(frame);
    if (!this.entries.has(frame.conversation)) this.entries.set(frame.conversation, entries);
    this.saveSoon();
    this.on.changed(frame.conversation, frame);
  }

  error(frame) {
    if (!this.greeted) {
      if (frame.retry_after_ms === undefined) this.refuse(frame.code, frame.detail);
      return;
    }
    const out = this.out.get(frame.id);
    if (out && frame.retry_after_ms !== undefined) {
      out.repeatAt = performance.now() + frame.retry_after_ms;
      setTimeout(() => this.pump(), frame.retry_after_ms + 1);
    } else if (out) {
      this.answered(frame, (settle) => settle.reject(frame));
    } else if (frame.code !== "not_following" && frame.retry_after_ms === undefined) {
      // What passes is not told of what need not arrive.
      this.on.frame(frame);
    }
  }

  /** The node serves on until then; everybody leaves it at a moment of their own. */
  drain({ url, after_ms }) {
    const { socket } = this;
    setTimeout(() => {
      if (this.socket !== socket) return;
      const next = url && endpoint(url);
      if (next && !this.urls.includes(next)) this.urls.push(next);
      this.at = next ? this.urls.indexOf(next) : this.at + 1;
      this.leaving = true;
      this.lost();
    }, after_ms);
  }

  // ---- commands

  /** Sends what may go: repeats first; of each conversation one at a time, so that order survives every repeat. */
  pump() {
    if (!this.greeted || this.socket?.readyState !== WebSocket.OPEN) return;
    const now = performance.now();
    for (const [number, out] of [...this.out].sort(([a], [b]) => a - b)) {
      if (out.repeatAt <= now) {
        out.repeatAt = Infinity;
        this.write(number, { ...out.frame, number });
      }
    }
    const passed = new Set();
    for (const command of [...this.waiting]) {
      const oldest = Math.min(this.nextNumber, ...this.out.keys());
      if (this.nextNumber - oldest >= SPAN_MAX) return;
      if (this.busy.has(lane(command)) || passed.has(lane(command))) {
        passed.add(lane(command));
        continue;
      }
      const number = this.nextNumber++;
      this.waiting.splice(this.waiting.indexOf(command), 1);
      this.out.set(number, { frame: command, repeatAt: Infinity });
      this.busy.add(lane(command));
      this.save(); // before it is sent: a reload must not give the number to another
      this.write(number, { ...command, number });
    }
  }

  answered(frame, how) {
    const out = this.out.get(frame.id);
    if (!out) return;
    this.out.delete(frame.id);
    this.busy.delete(lane(out.frame));
    this.save();
    const settle = this.settle.get(out.frame);
    this.settle.delete(out.frame);
    if (settle) how(settle);
    this.on.settled?.(out.frame, frame);
    this.pump();
  }

  /** Once greeted; before, only hello may go. */
  write(id, frame) {
    if (this.greeted) this.send(id, frame);
  }

  send(id, frame) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ v: VERSION, id, ...frame }));
  }

  // ---- across reloads

  save() {
    const commands = [
      ...[...this.out].map(([number, { frame }]) => ({ number, frame })),
      ...this.waiting.map((frame) => ({ frame })),
    ];
    const { instance, nextNumber, agentSeq } = this;
    sessionStorage.setItem(this.key, JSON.stringify({ instance, nextNumber, agentSeq, commands }));
  }

  saveSoon() {
    this.saving ??= setTimeout(() => this.saveEntries(), 300);
  }

  saveEntries() {
    clearTimeout(this.saving);
    this.saving = undefined;
    this.save();
    const key = `${this.key}:entries`;
    try {
      // Of the longest only the end; what came before is not shown again after a reload.
      const kept = [...this.entries].map(([conversation, entries]) => [conversation, entries.slice(-ENTRIES_KEPT)]);
      sessionStorage.setItem(key, JSON.stringify(kept));
    } catch {
      sessionStorage.removeItem(key); // no room: after a reload everything is read again
    }
  }
}

/** Commands of one lane keep their order. */
function lane(frame) {
  return frame.conversation ?? "";
}
