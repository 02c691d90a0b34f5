// The customer's page.

import { Connection } from "/web/connection.js";
import { $, ask, banner, clock, credentials, element, fill, sendOnEnter, typist } from "/web/page.js";

let connection;
let current = null; // conversation
let starting = false;
const views = new Map();
const places = new Map(); // conversation → { position, p50_ms?, p90_ms? }
const refused = []; // messages that were refused: { conversation, text, why }
let typingUntil = 0;
let readSent = 0;

function begin({ token, nodes }) {
  $("page").hidden = false;
  banner("Connecting …");
  connection = new Connection(token, nodes, {
    status: banner,
    welcome: ({ name }) => {
      $("title").textContent = `Chat (${name})`;
      show();
    },
    frame,
    changed: (conversation, entry) => {
      if (current === null) choose(conversation);
      if (entry.content.author?.role === "agent") typingUntil = 0;
      show();
    },
    settled: (command, answer) => {
      if (command.type === "start" && answer.type === "ack") {
        starting = false;
        choose(answer.conversation);
      }
      if (command.type === "start" && answer.type === "error") {
        starting = false;
        banner(`The chat could not be started: ${answer.detail}`);
      }
      if (command.type === "message" && answer.type === "error") {
        refused.push({ conversation: command.conversation, text: command.body.text, why: answer.detail });
      }
      show();
    },
    refused: (code, detail) => ask(`${detail} (${code})`, begin),
  });
  current = sessionStorage.getItem(`${connection.key}:current`);
  connection.start().then(() => {
    starting = connection.pending().some(({ type }) => type === "start");
    show();
  });
}

function choose(conversation) {
  current = conversation;
  readSent = 0;
  if (conversation) sessionStorage.setItem(`${connection.key}:current`, conversation);
  else sessionStorage.removeItem(`${connection.key}:current`);
}

function frame(frame) {
  switch (frame.type) {
    case "conversation":
      views.set(frame.conversation, frame);
      // A conversation that goes on elsewhere (another tab) is picked up; one that has ended is not.
      if (current === null && frame.phase !== "closed") choose(frame.conversation);
      break;
    case "waiting":
      places.set(frame.conversation, frame);
      break;
    case "read": {
      const view = views.get(frame.conversation);
      if (view) {
        view.read = view.read.filter(({ reader }) => reader.role !== frame.reader.role || reader.agent !== frame.reader.agent);
        view.read.push({ reader: frame.reader, seq: frame.seq });
      }
      break;
    }
    case "typing":
      if (frame.conversation === current && frame.who.role === "agent") {
        typingUntil = frame.typing ? Date.now() + 6000 : 0;
        setTimeout(show, 6100);
      }
      break;
    case "error":
      if (frame.code === "unknown_conversation") choose(null);
      else banner(`${frame.detail} (${frame.code})`);
      break;
  }
  show();
}

const PHASES = {
  waiting: "Waiting for an agent …",
  assigned: "An agent is with you",
  paused: "Paused; write to go on",
  closed: "Ended",
};

function subtitle(view) {
  if (view?.phase === "scheduled") return view.schedule ? `Put off until ${clock(view.schedule.at_ms)}` : "Put off";
  if (view?.phase !== "waiting") return PHASES[view?.phase];
  const place = places.get(current);
  const standing = place ? ` You are number ${place.position}${estimate(place)}.` : "";
  return `${view.callback ? `We will call you back (${view.callback}).` : PHASES.waiting}${standing}`;
}

function estimate({ p50_ms, p90_ms }) {
  if (p50_ms === undefined) return "";
  const seldom = Math.max(1, Math.ceil(p90_ms / 60000));
  return `; ${duration(p50_ms)}, seldom more than ${seldom} min`;
}

function duration(ms) {
  return ms < 60000 ? "less than a minute" : `about ${Math.round(ms / 60000)} min`;
}

function show() {
  const view = views.get(current);
  const closed = view?.phase === "closed";
  $("begin").hidden = current !== null;
  $("talk").hidden = current === null;
  $("compose").hidden = closed;
  $("closed").hidden = !closed;
  $("end").hidden = !view || closed;
  $("start-form").querySelector("button").disabled = starting;
  $("start-form").querySelector("button").textContent = starting ? "Starting …" : "Start chat";
  $("subtitle").textContent = (current && subtitle(view)) || "\u00a0";
  $("callback").hidden = view?.phase !== "waiting" || Boolean(view.callback);
  $("wait-now").hidden = view?.phase !== "scheduled";
  $("typing").textContent = typingUntil > Date.now() ? "The agent is writing …" : "\u00a0";
  if (current === null) return;
  const entries = connection.entriesOf(current);
  const answered = entries.some(({ content }) => content.kind === "joined");
  $("rating").hidden = !closed || !answered || Boolean(view.rating);
  $("thanks").hidden = !closed || !view.rating;
  fill($("entries"), [...entries.map((entry) => shown(entry, view)), ...unsent(entries)]);
  markRead(entries);
}

function shown({ seq, at_ms, content }, view) {
  if (content.kind !== "message") return element("li", "entry event", `${EVENTS[content.kind]?.(content) ?? content.kind} · ${clock(at_ms)}`);
  const mine = content.author.role === "customer";
  const item = element("li", `entry${mine ? " mine" : ""}`, content.body.text);
  const read = mine && (view?.read ?? []).some(({ reader, seq: upTo }) => reader.role === "agent" && upTo >= seq);
  item.append(element("small", "", `${clock(at_ms)}${mine ? (read ? " · read" : " · sent") : ""}`));
  return item;
}

const EVENTS = {
  joined: () => "An agent has joined",
  left: () => "The agent has left",
  paused: () => "The chat is paused",
  resumed: () => "The chat goes on",
  closed: () => "The chat has ended",
  reopened: () => "The chat is open again",
  participant_joined: () => "A colleague has joined",
  participant_left: () => "The colleague has left",
  scheduled: ({ at_ms }) => `Put off until ${clock(at_ms)}`,
  callback_requested: ({ contact }) => `You will be called back (${contact})`,
};

/** What is on its way, and what was refused. */
function unsent(entries) {
  const waiting = connection.pending().filter(({ type, conversation }) => type === "message" && conversation === current);
  // An entry may be here before its acknowledgement.
  const last = entries.at(-1)?.content;
  if (waiting.length && last?.kind === "message" && last.author.role === "customer" && last.body.text === waiting[0].body.text) {
    waiting.shift();
  }
  const pending = waiting.map(({ body }) => {
    const item = element("li", "entry mine pending", body.text);
    item.append(element("small", "", "sending …"));
    return item;
  });
  const failed = refused.filter(({ conversation }) => conversation === current).map(({ text, why }) => {
    const item = element("li", "entry mine failed", text);
    item.append(element("small", "error", `not sent: ${why}`));
    return item;
  });
  return [...pending, ...failed];
}

function markRead(entries) {
  const theirs = entries.findLast(({ content }) => content.author?.role === "agent");
  if (!theirs || theirs.seq <= readSent || document.hidden || !document.hasFocus()) return;
  readSent = theirs.seq;
  connection.say({ type: "read", conversation: current, seq: theirs.seq });
}

const stopTyping = typist($("text"), (typing) => {
  if (current && views.get(current)?.phase === "assigned") connection.say({ type: "typing", conversation: current, typing });
});

function send() {
  const text = $("text").value.trim();
  if (!text || current === null) return;
  $("text").value = "";
  stopTyping();
  connection.command({ type: "message", conversation: current, body: { text } }).catch(() => {}); // shown by `settled`
  show();
  $("entries").scrollTop = $("entries").scrollHeight;
}

sendOnEnter($("text"), send);
$("compose").onsubmit = (event) => {
  event.preventDefault();
  send();
};
$("start-form").onsubmit = (event) => {
  event.preventDefault();
  if (starting) return;
  starting = true;
  const text = $("start-text").value.trim();
  const language = $("start-language").value;
  $("start-text").value = "";
  connection
    .command({ type: "start", attributes: language ? { language } : {}, ...(text ? { message: { text } } : {}) })
    .catch(() => {}); // shown by `settled`
  show();
};
const tell = (error) => banner(`${error.detail} (${error.code})`);
$("end").onclick = () => connection.command({ type: "close", conversation: current }).catch(tell);
$("reopen").onclick = () => connection.command({ type: "reopen", conversation: current }).catch(tell);
$("wait-now").onclick = () => connection.command({ type: "cancel_schedule", conversation: current }).catch(tell);
$("callback").onsubmit = (event) => {
  event.preventDefault();
  const contact = $("contact").value.trim();
  if (contact) connection.command({ type: "callback", conversation: current, contact }).catch(tell);
};
$("rating").onsubmit = (event) => {
  event.preventDefault();
  const rating = Number(event.submitter?.value);
  const comment = $("comment").value.trim();
  if (rating) connection.command({ type: "rate", conversation: current, rating, ...(comment ? { comment } : {}) }).catch(tell);
};
$("again").onclick = () => {
  connection.forget(current);
  choose(null);
  show();
};
addEventListener("focus", () => connection && show());
document.addEventListener("visibilitychange", () => connection && show());

credentials(begin);
