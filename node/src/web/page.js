// What both pages share: where the token comes from, small pieces of DOM, how an entry is shown.

export const $ = (id) => document.getElementById(id);

/** An element with text (never markup). */
export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** The token and nodes: from the URL's fragment, from before the reload, or from the form. */
export function credentials(begin) {
  const given = new URLSearchParams(location.hash.slice(1));
  if (given.get("token")) {
    // Not left where it is seen, or copied along with the address.
    history.replaceState(null, "", location.pathname);
    return begin(remember(given.get("token"), given.get("nodes") ?? ""));
  }
  const kept = sessionStorage.getItem(`kaiwa:${location.pathname}:token`);
  if (kept) return begin(JSON.parse(kept));
  return ask("", begin);
}

function remember(token, nodes) {
  const kept = { token: token.trim(), nodes: nodes.split(",").filter(Boolean) };
  sessionStorage.setItem(`kaiwa:${location.pathname}:token`, JSON.stringify(kept));
  return kept;
}

/** Shows the form. */
export function ask(why, begin) {
  sessionStorage.removeItem(`kaiwa:${location.pathname}:token`);
  $("page").hidden = true;
  $("login").hidden = false;
  $("login-error").textContent = why;
  $("login-token").focus();
  $("login").onsubmit = (event) => {
    event.preventDefault();
    const kept = remember($("login-token").value, $("login-nodes").value);
    if (why) return location.reload(); // a new page for a new bearer
    $("login").hidden = true;
    return begin(kept);
  };
}

export function banner(text) {
  $("banner").hidden = text === null;
  $("banner").textContent = text ?? "";
}

export function clock(atMs) {
  return new Date(atMs).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

/** Keeps the end of a list in view, unless the reader has scrolled away from it. */
export function fill(list, items) {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  list.replaceChildren(...items);
  if (atEnd) list.scrollTop = list.scrollHeight;
}

/** A typing notice: begins with input, ends by itself. `say(true or false)`. */
export function typist(field, say) {
  let until = 0;
  let timer;
  const stop = () => {
    clearTimeout(timer);
    if (until) say(false);
    until = 0;
  };
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(stop, 4000);
    if (Date.now() > until) {
      until = Date.now() + 3000;
      say(true);
    }
  });
  return stop;
}

/** Enter sends, Shift+Enter begins a line; not while an input method composes. */
export function sendOnEnter(field, send) {
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  });
}
