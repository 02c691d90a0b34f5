// The agent's page.

import { Connection } from "/web/connection.js";
import { $, ask, banner, clock, credentials, element, fill, sendOnEnter, typist } from "/web/page.js";

let connection;
let me = null;
let supervisor = false;
let presence = "offline";
let chosen = null;
const offers = new Map(); // conversation → { epoch, deadline_ms, from_ms, customer, queue }
const invitations = new Map(); // conversation → { role, by, deadline_ms, from_ms }
// conversation → { customer, queue, epoch, phase, deadline_ms, read, seen, typingUntil, role?, participants, invited }
// `role`: as what this agent takes part beside the owner.
const chats = new Map();
const queues = new Map(); // id → name
const agents = new Map();
const drafts = new Map();
const refused = [];

function begin({ token, nodes }) {
  $("page").hidden = false;
  banner("Connecting …");
  connection = new Connection(token, nodes, {
    status: banner,
    welcome: ({ subject, name, role }) => {
      me = subject;
      supervisor = role === "supervisor";
      $("title").textContent = `Desk (${name})`;
      connection.say({ type: "targets" });
      show();
    },
    frame,
    changed: (conversation, entry) => {
      const chat = chats.get(conversation);
      if (chat && entry.content.author?.role === "customer") chat.typingUntil = 0;
      show();
    },
    settled: (command, answer) => {
      if (command.type === "message" && answer.type === "error") {
        refused.push({ conversation: command.conversation, text: command.body.text, why: answer.detail });
      }
      show();
    },
    refused: (code, detail) => ask(`${detail} (${code})`, begin),
  });
  connection.start().then(show);
  setInterval(() => connection.say({ type: "targets" }), 30000);
  setInterval(showOffers, 250);
  setInterval(() => supervisor && showAll(token), 5000);
  setTimeout(() => supervisor && showAll(token), 1000);
}

// ---- what comes

function frame(frame) {
  const handle = HANDLERS[frame.type];
  if (handle) handle(frame);
  show();
}

const HANDLERS = {
  desk({ conversations, presence: now }) {
    presence = now;
    offers.clear();
    invitations.clear();
    const there = new Set(conversations.map(({ conversation }) => conversation));
    for (const conversation of [...chats.keys()]) if (!there.has(conversation)) drop(conversation);
    for (const view of conversations) {
      const asked = view.invited?.find(({ agent }) => agent === me);
      if (asked) invitations.set(view.conversation, { ...asked, by: view.agent, from_ms: connection.now() });
      else if (view.phase === "offered") offer(view);
      else update(chat(view.conversation), view);
    }
  },
  conversation(view) {
    const known = chats.get(view.conversation);
    if (known && (view.agent === me || roleIn(view) || view.phase === "closed")) update(known, view);
  },
  offered: offer,
  offer_ended({ conversation, epoch }) {
    if (offers.get(conversation)?.epoch === epoch) offers.delete(conversation);
  },
  assigned({ conversation, epoch, customer, queue }) {
    offers.delete(conversation);
    const mine = { epoch, customer, queue, phase: "assigned", deadline_ms: undefined, role: undefined };
    Object.assign(chat(conversation), mine);
    chosen ??= conversation;
  },
  unassigned({ conversation, reason }) {
    const known = chats.get(conversation);
    if (!known) return;
    if (reason === "closed") {
      if (known.phase !== "wrap_up") known.phase = "closed";
      // Without wrap-up nothing more comes.
      setTimeout(() => {
        if (chats.get(conversation)?.phase === "closed") drop(conversation);
        show();
      }, 8000);
    } else {
      notice(`${known.customer ?? "A conversation"} is no longer yours (${reason.replaceAll("_", " ")}).`);
      drop(conversation);
    }
  },
  wrap_up({ conversation, epoch, deadline_ms }) {
    Object.assign(chat(conversation), { epoch, deadline_ms, phase: "wrap_up" });
  },
  wrap_up_ended({ conversation }) {
    drop(conversation);
  },
  invited({ conversation, role, by, deadline_ms }) {
    invitations.set(conversation, { role, by, deadline_ms, from_ms: connection.now() });
  },
  invitation_ended({ conversation }) {
    invitations.delete(conversation);
  },
  joined_as({ conversation, role }) {
    invitations.delete(conversation);
    chat(conversation).role = role;
    chosen ??= conversation;
  },
  left_as({ conversation, why }) {
    const known = chats.get(conversation);
    // A part also ends when the conversation becomes this agent's own.
    if (!known?.role || why === "owns it now") return;
    notice(`You take part in the conversation with ${known.customer ?? "a customer"} no longer (${why}).`);
    drop(conversation);
  },
  presence({ presence: now }) {
    presence = now;
  },
  targets({ queues: all, agents: others }) {
    queues.clear();
    agents.clear();
    for (const { queue, name, waiting } of all) queues.set(queue, { name, waiting });
    for (const { agent, name, presence: theirs } of others) agents.set(agent, { name, presence: theirs });
    showTargets();
  },
  read({ conversation, reader, seq }) {
    const known = chats.get(conversation);
    if (known && reader.role === "customer") known.read = Math.max(known.read, seq);
  },
  typing({ conversation, who, typing }) {
    const known = chats.get(conversation);
    if (!known || who.role !== "customer") return;
    known.typingUntil = typing ? Date.now() + 6000 : 0;
    setTimeout(show, 6100);
  },
  error: ({ code, detail }) => notice(`${detail} (${code})`),
};

function offer({ conversation, epoch, deadline_ms, customer, queue }) {
  offers.set(conversation, { epoch, deadline_ms, customer, queue, from_ms: connection.now() });
}

function chat(conversation) {
  if (!chats.has(conversation)) {
    chats.set(conversation, { read: 0, seen: 0, typingUntil: 0, phase: "assigned", participants: [], invited: [] });
  }
  return chats.get(conversation);
}

function roleIn(view) {
  return view.agent === me ? undefined : view.participants?.find(({ agent }) => agent === me)?.role;
}

function update(known, view) {
  const { customer, queue, epoch, phase, deadline_ms, customer_present, callback } = view;
  Object.assign(known, { customer, queue, epoch, phase, deadline_ms, customer_present, callback, owner: view.agent });
  Object.assign(known, { role: roleIn(view), participants: view.participants ?? [], invited: view.invited ?? [] });
  for (const { reader, seq } of view.read) {
    if (reader.role === "customer") known.read = Math.max(known.read, seq);
    if (reader.agent === me) known.seen = Math.max(known.seen, seq);
  }
}

function drop(conversation) {
  chats.delete(conversation);
  drafts.delete(conversation);
  connection.forget(conversation);
  if (chosen === conversation) chosen = null;
}

function notice(text) {
  $("notice").textContent = text;
}

// ---- what is shown

function show() {
  if (!connection) return;
  showPresence();
  showOffers();
  showList();
  showTalk();
}

function word() {
  return typeof presence === "string" ? presence : Object.keys(presence)[0];
}

function showPresence() {
  const state = word();
  const reason = state === "away" && presence.away ? `: ${presence.away}` : "";
  $("presence").textContent = `${state}${reason}`;
  $("presence").className = `presence ${state}`;
  const offline = state === "offline";
  $("sign-in").hidden = !offline;
  $("sign-out").hidden = offline;
  $("available").hidden = offline || state === "available";
  $("away").hidden = offline || state === "away";
  $("finish").hidden = offline || state === "draining";
}

const queueName = (queue) => queues.get(queue)?.name ?? "a queue";

function showOffers() {
  const list = $("offers");
  for (const item of list.querySelectorAll("[data-id]")) if (!offers.has(item.dataset.id)) item.remove();
  for (const [conversation, known] of offers) {
    let item = [...list.children].find(({ dataset }) => dataset.id === conversation);
    if (!item || item.dataset.epoch !== String(known.epoch)) {
      item?.remove();
      item = offerItem(conversation, known);
      list.append(item);
    }
    const left = Math.max(0, known.deadline_ms - connection.now());
    item.querySelector(".left").textContent = `${Math.ceil(left / 1000)} s`;
    item.querySelector("progress").value = left / Math.max(1, known.deadline_ms - known.from_ms);
  }
  for (const item of list.querySelectorAll("[data-invitation]")) item.remove();
  for (const [conversation, known] of invitations) list.prepend(invitationItem(conversation, known));
  $("no-offers").hidden = offers.size + invitations.size > 0;
}

function invitationItem(conversation, { role, by, deadline_ms, from_ms }) {
  const item = element("li");
  item.dataset.invitation = conversation;
  const left = Math.max(0, deadline_ms - connection.now());
  const what = role === "consult" ? "asks for your advice" : "asks you in";
  item.append(element("div", "", `${agentName(by)} ${what} · ${Math.ceil(left / 1000)} s`));
  const bar = element("progress");
  bar.max = 1;
  bar.value = left / Math.max(1, deadline_ms - from_ms);
  const answer = (word, accept) => {
    const button = element("button", accept ? "primary" : "", word);
    button.onclick = () => command({ type: "answer_invitation", conversation, accept });
    return button;
  };
  const buttons = element("div", "buttons");
  buttons.append(answer("Join", true), answer("Decline", false));
  item.append(bar, buttons);
  return item;
}

function offerItem(conversation, { epoch, customer, queue }) {
  const item = element("li");
  item.dataset.id = conversation;
  item.dataset.epoch = epoch;
  const head = element("div", "", `${customer} · ${queueName(queue)} · `);
  head.append(element("span", "left"));
  const bar = element("progress");
  bar.max = 1;
  const buttons = element("div", "buttons");
  const accept = element("button", "primary", "Accept");
  const decline = element("button", "", "Decline");
  const act = (frame) => {
    accept.disabled = decline.disabled = true;
    command(frame).finally(() => {
      accept.disabled = decline.disabled = false;
    });
  };
  accept.onclick = () => act({ type: "accept", conversation, epoch });
  decline.onclick = () => act({ type: "decline", conversation, epoch, reason: "declined" });
  buttons.append(accept, decline);
  item.append(head, bar, buttons);
  return item;
}

function unread(conversation, known) {
  return connection
    .entriesOf(conversation)
    .filter(({ seq, content }) => seq > known.seen && content.author?.role === "customer").length;
}

function showList() {
  const items = [...chats].map(([conversation, known]) => {
    const item = element("li", conversation === chosen ? "chosen" : "");
    item.tabIndex = 0;
    item.append(element("span", "", known.customer ?? conversation));
    const count = conversation === chosen ? 0 : unread(conversation, known);
    item.append(count ? element("span", "unread", String(count)) : element("span", "quiet", known.phase.replace("_", " ")));
    const last = connection.entriesOf(conversation).findLast(({ content }) => content.body);
    item.append(element("span", "last", last?.content.body.text ?? "\u00a0"));
    const choose = () => {
      if (chosen) drafts.set(chosen, $("text").value);
      chosen = conversation;
      $("text").value = drafts.get(conversation) ?? "";
      show();
      $("entries").scrollTop = $("entries").scrollHeight;
      $("text").focus();
    };
    item.onclick = choose;
    item.onkeydown = ({ key }) => key === "Enter" && choose();
    return item;
  });
  const focused = [...$("list").children].indexOf(document.activeElement);
  $("list").replaceChildren(...items);
  if (focused >= 0) items[focused]?.focus();
  $("no-list").hidden = chats.size > 0;
}

function showTalk() {
  const known = chats.get(chosen);
  $("talk").hidden = !known;
  $("none").hidden = Boolean(known);
  if (!known) return;
  $("with").textContent = known.customer ?? "";
  const away = known.customer_present === false ? " · customer is away" : "";
  const until = known.phase === "wrap_up" && known.deadline_ms ? ` until ${clock(known.deadline_ms)}` : "";
  const as = known.role ? ` · you ${ROLES[known.role]}` : "";
  const call = known.callback ? ` · call back: ${known.callback}` : "";
  $("state").textContent = `${queueName(known.queue)} · ${known.phase.replace("_", " ")}${until}${away}${as}${call}`;
  const guest = known.role !== undefined;
  const [assigned, paused, wrapUp] = ["assigned", "paused", "wrap_up"].map((phase) => known.phase === phase && !guest);
  const [speaks, whispers] = [may(known, SPEAKS), may(known, WHISPERS)];
  const supervises = SUPERVISES.includes(known.role);
  for (const [id, on] of Object.entries({
    target: assigned,
    transfer: assigned,
    pause: assigned,
    resume: paused,
    close: assigned || paused,
    extend: wrapUp,
    "finish-wrap-up": wrapUp,
    compose: assigned || paused || wrapUp || whispers,
    colleague: assigned || paused,
    consult: assigned || paused,
    confer: assigned || paused,
    later: assigned || paused,
    schedule: assigned || paused,
    monitor: supervises && known.role !== "monitor",
    "whisper-in": supervises && known.role !== "whisper",
    barge: supervises && known.role !== "barge",
    "begin-now": known.phase === "scheduled",
    leave: guest,
    whisper: whispers && (guest || known.participants.length > 0),
    note: whispers,
  })) {
    $(id).hidden = !on;
  }
  $("compose").querySelector(".primary").disabled = !speaks;
  showParticipants(known);
  $("typing").textContent = known.typingUntil > Date.now() ? `${known.customer} is writing …` : "\u00a0";
  const entries = connection.entriesOf(chosen);
  fill($("entries"), [...entries.map((entry) => shown(entry, known)), ...unsent(entries)]);
  markRead(entries, known);
}

const SPEAKS = ["conference", "barge"];
const WHISPERS = ["consult", "conference", "whisper", "barge"];
const SUPERVISES = ["monitor", "whisper", "barge"];
const ROLES = { consult: "advise", conference: "take part", monitor: "monitor", whisper: "whisper", barge: "take part from above" };

/** The owner may all that a role may. */
function may(known, roles) {
  if (known.role !== undefined) return roles.includes(known.role);
  return known.phase === "assigned" || (roles === WHISPERS && ["paused", "wrap_up"].includes(known.phase));
}

function showParticipants(known) {
  const guest = known.role !== undefined;
  const act = (word, does) => {
    const button = element("button", "", word);
    button.onclick = does;
    return button;
  };
  const owner = guest && known.owner ? [element("li", "", `${agentName(known.owner)} · owner`)] : [];
  const present = known.participants.map(({ agent, role }) => {
    const item = element("li", "", `${agentName(agent)} · ${role} `);
    if (!guest && !SUPERVISES.includes(role)) {
      item.append(act("Hand over", () => about("complete_transfer", { to: agent })));
      item.append(act("Let go", () => about("remove", { agent })));
    }
    return item;
  });
  const asked = known.invited.map(({ agent, role }) => {
    const item = element("li", "quiet", `${agentName(agent)} is asked in (${role}) `);
    if (!guest) item.append(act("Take back", () => about("remove", { agent })));
    return item;
  });
  $("participants").replaceChildren(...owner, ...present, ...asked);
}

/** For supervisors: what goes on in the tenant, to look into. */
async function showAll(token) {
  const answer = await fetch("/v1/conversations?limit=100", { headers: { authorization: `Bearer ${token}` } }).catch(() => null);
  if (!answer?.ok) return;
  const open = (await answer.json()).conversations.filter(({ phase }) => phase !== "closed");
  const items = open.map(({ id, customer, phase, agent }) => {
    const item = element("li");
    item.append(element("span", "", customer), element("span", "quiet", phase.replace("_", " ")));
    const line = element("span", "last", agent ? agentName(agent) : "nobody yet");
    item.append(line);
    if (!chats.has(id) && agent !== me) {
      item.tabIndex = 0;
      item.title = "Monitor";
      item.onclick = () => command({ type: "join", conversation: id, role: "monitor" }).then((ack) => ack && (chosen = id) && show());
      item.onkeydown = ({ key }) => key === "Enter" && item.onclick();
    }
    return item;
  });
  $("all-list").replaceChildren(...items);
  $("all").hidden = false;
}

const agentName = (agent) => (agent === me ? "You" : (agents.get(agent)?.name ?? "An agent"));

const EVENTS = {
  joined: ({ agent }) => `${agentName(agent)} joined`,
  left: ({ agent, reason }) => `${agentName(agent)} left${reason ? ` (${reason.replaceAll("_", " ")})` : ""}`,
  moved: ({ queue }) => `Moved to ${queueName(queue)}`,
  paused: () => "Paused",
  resumed: () => "Resumed",
  closed: ({ outcome }) => `Closed (${outcome.replaceAll("_", " ")})`,
  reopened: () => "Reopened",
  participant_joined: ({ agent, as_role }) => `${agentName(agent)} joined (${as_role})`,
  participant_left: ({ agent, as_role }) => `${agentName(agent)} left (${as_role})`,
  scheduled: ({ at_ms, agent }) => `Put off until ${agent ? `${agentName(agent)} is back, or ` : ""}${clock(at_ms)}`,
  callback_requested: ({ contact }) => `The customer wants to be called back: ${contact}`,
  rated: ({ rating, comment }) => `The customer's rating: ${rating} of 5${comment ? ` (${comment})` : ""}`,
};

function shown({ seq, at_ms, content }, known) {
  const { kind, author, body } = content;
  if (!body) return element("li", "entry event", `${EVENTS[kind]?.(content) ?? kind} · ${clock(at_ms)}`);
  const among = kind === "note" || kind === "whisper"; // not for the customer
  const agent = among ? content.agent : author.agent;
  const item = element("li", `entry${among ? " note" : ""}${agent ? " mine" : ""}`, body.text);
  const label = kind === "note" ? `Note by ${agentName(agent)}` : `${agentName(agent)} whispers`;
  const who = among ? label : agent ? agentName(agent) : (known.customer ?? "Customer");
  const read = kind === "message" && agent && known.read >= seq ? " · read" : "";
  item.append(element("small", "", `${who} · ${clock(at_ms)}${read}`));
  return item;
}

function unsent(entries) {
  const mine = ({ type, conversation }) => ["message", "note", "whisper"].includes(type) && conversation === chosen;
  const waiting = connection.pending().filter(mine);
  const last = entries.at(-1)?.content;
  const lastIsMine = last?.author?.agent === me || last?.agent === me;
  if (waiting.length && last?.body && lastIsMine && last.body.text === waiting[0].body.text) waiting.shift();
  const pending = waiting.map(({ type, body }) => {
    const item = element("li", `entry mine pending${type === "message" ? "" : " note"}`, body.text);
    item.append(element("small", "", "sending …"));
    return item;
  });
  const failed = refused.filter(({ conversation }) => conversation === chosen).map(({ text, why }) => {
    const item = element("li", "entry mine failed", text);
    item.append(element("small", "error", `not sent: ${why}`));
    return item;
  });
  return [...pending, ...failed];
}

function markRead(entries, known) {
  const theirs = entries.findLast(({ content }) => content.author?.role === "customer");
  if (!theirs || theirs.seq <= known.seen || document.hidden || !document.hasFocus()) return;
  known.seen = theirs.seq;
  connection.say({ type: "read", conversation: chosen, seq: theirs.seq });
}

function showTargets() {
  const select = $("target");
  const before = select.value;
  const options = [...queues].map(([queue, { name, waiting }]) => {
    const option = element("option", "", `${name} (${waiting} waiting)`);
    option.value = `queue ${queue}`;
    return option;
  });
  for (const [agent, { name, presence: theirs }] of agents) {
    if (agent === me || theirs !== "available") continue;
    const option = element("option", "", name);
    option.value = `agent ${agent}`;
    options.push(option);
  }
  select.replaceChildren(...options);
  if (options.some(({ value }) => value === before)) select.value = before;
  const colleague = $("colleague");
  const kept = colleague.value;
  const others = [...agents].filter(([agent, { presence: theirs }]) => agent !== me && theirs === "available");
  colleague.replaceChildren(...others.map(([agent, { name }]) => new Option(name, agent)));
  if (others.some(([agent]) => agent === kept)) colleague.value = kept;
}

// ---- what is done

/** Sends a command; tells what went wrong. */
function command(frame) {
  notice("");
  return connection.command(frame).catch(({ code, detail }) => notice(`${detail} (${code})`));
}

/** About the chosen conversation, under its epoch. */
function about(type, more) {
  const { epoch, role } = chats.get(chosen);
  const owns = epoch !== undefined && role === undefined; // who takes part beside the owner names no epoch
  return command({ type, conversation: chosen, ...(owns ? { epoch } : {}), ...more });
}

const stopTyping = typist($("text"), (typing) => {
  const known = chats.get(chosen);
  if (known?.phase === "assigned" && may(known, SPEAKS)) connection.say({ type: "typing", conversation: chosen, typing });
});

function send(type) {
  const text = $("text").value.trim();
  const known = chats.get(chosen);
  if (!text || !known || (type === "message" && !may(known, SPEAKS))) return;
  $("text").value = "";
  drafts.delete(chosen);
  stopTyping();
  if (type === "message") about("message", { body: { text } });
  else command({ type, conversation: chosen, body: { text } });
  show();
  $("entries").scrollTop = $("entries").scrollHeight;
}

/** Enter sends to the customer, from who may write to them. */
const usual = () => (may(chats.get(chosen) ?? {}, SPEAKS) ? "message" : "whisper");
sendOnEnter($("text"), () => send(usual()));
$("compose").onsubmit = (event) => {
  event.preventDefault();
  send("message");
};
$("note").onclick = () => send("note");
$("whisper").onclick = () => send("whisper");
for (const [id, role] of [["consult", "consult"], ["confer", "conference"]]) {
  $(id).onclick = () => $("colleague").value && about("invite", { agent: $("colleague").value, role });
}
for (const [id, role] of [["monitor", "monitor"], ["whisper-in", "whisper"], ["barge", "barge"]]) {
  $(id).onclick = () => command({ type: "join", conversation: chosen, role });
}
$("begin-now").onclick = () => command({ type: "cancel_schedule", conversation: chosen });
$("leave").onclick = () => command({ type: "leave", conversation: chosen });
$("schedule").onclick = () => {
  const chosenTime = $("later").value;
  const [minutes, until] = chosenTime === "return" ? [24 * 60, { agent: me }] : [Number(chosenTime), {}];
  about("schedule", { schedule: { at_ms: Math.round(connection.now()) + minutes * 60000, keep_age: true, ...until } });
};
$("sign-in").onclick = () => command({ type: "sign_in", presence: { state: "available" } });
$("sign-out").onclick = () => command({ type: "sign_out" });
$("available").onclick = () => command({ type: "presence", presence: { state: "available" } });
$("away").onclick = () => command({ type: "presence", presence: { state: "away", reason: "break" } });
$("finish").onclick = () => command({ type: "presence", presence: { state: "draining" } });
$("pause").onclick = () => about("pause");
$("resume").onclick = () => command({ type: "resume", conversation: chosen });
$("close").onclick = () => about("close");
$("finish-wrap-up").onclick = () => about("finish_wrap_up");
$("extend").onclick = () => about("extend_wrap_up", { by_ms: 60000 });
$("transfer").onclick = () => {
  const [kind, id] = $("target").value.split(" ");
  if (id) about("transfer", { to: { kind, [kind]: id } });
};
addEventListener("focus", show);
document.addEventListener("visibilitychange", show);

credentials(begin);
