// Shows status.json, again every two seconds. Names and errors come from outside: they go
// into the page as text, never as markup.
"use strict";

const every = 2000;
const byId = (id) => document.getElementById(id);

function node(tag, cls, ...inside) {
  const n = document.createElement(tag);
  if (cls) n.className = cls;
  n.append(...inside.filter((x) => x !== null && x !== ""));
  return n;
}

function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
  return (i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)) + " " + units[i];
}

function age(from, now) {
  const s = Math.max(0, Math.round((Date.parse(now) - Date.parse(from)) / 1000));
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min";
  if (s < 172800) return Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min";
  return Math.floor(s / 86400) + " days";
}

function bar(done, of, over) {
  const fill = node("i");
  fill.style.width = (of > 0 ? Math.min(100, 100 * done / of) : 0) + "%";
  return node("div", over ? "bar over" : "bar", fill);
}

function tile(value, cls, label, extra) {
  return node("div", "tile", node("b", cls, value), node("span", "", label), extra || null);
}

function tiles(s) {
  const c = s.cache;
  const units = Object.entries(s.units_by_state || {}).filter(([, n]) => n > 0).map(([state, n]) => n + " " + state);
  if (s.deletions > 0) units.push(s.deletions + (s.deletions === 1 ? " deletion" : " deletions"));
  let eta = "";
  if (s.bytes_left > 0 && s.bytes_per_second > 1) {
    eta = ", about " + age(s.now, new Date(Date.parse(s.now) + 1000 * s.bytes_left / s.bytes_per_second).toISOString()) + " to go";
  }
  return [
    tile(s.store_reachable ? "reachable" : "NOT REACHABLE", s.store_reachable ? "good" : "bad", s.store_reachable ? "store" : s.store_error || "store"),
    tile(units.length ? bytes(s.bytes_left) : "nothing", units.length ? "" : "good", units.length ? "left: " + units.join(", ") : "left: all is committed"),
    tile(bytes(s.bytes_per_second) + "/s", "", "upload" + eta + "; " + bytes(s.bytes_uploaded) + " since the mount, " + bytes(s.bytes_fetched) + " fetched"),
    tile(s.oldest_uncommitted ? age(s.oldest_uncommitted, s.now) : "–", "", "oldest that is not committed"),
    tile(bytes(c.used), c.full ? "bad" : "", (c.full ? "cache: FULL, writers wait" : "cache" + (c.limit ? " of " + bytes(c.limit) : "")) + "; " + bytes(c.disk_free) + " free on its disk",
      c.limit ? bar(c.used, c.limit, c.full) : null),
  ];
}

function unit(u, now) {
  const row = node("div", "unit", node("span", "name", u.name), node("span", "state " + u.state, u.state));
  if (u.state === "uploading") row.append(bar(u.done, u.bytes));
  const size = u.state === "uploading" ? bytes(u.done) + " of " + bytes(u.bytes) : bytes(u.bytes);
  const files = u.files > 0 ? u.files + (u.files === 1 ? " file, " : " files, ") : "";
  const when = u.when ? (u.state === "committed" ? ", used " : ", since ") + age(u.when, now) + (u.state === "committed" ? " ago" : "") : "";
  row.append(node("span", "note", files + size + when + (u.why ? " · " + u.why : "")));
  return row;
}

function more(n, what) {
  return n > 0 ? node("p", "note", "… " + n + " more " + what + " (trainfs status --json shows them)") : null;
}

function show(s) {
  document.title = (s.errors.length ? "(" + s.errors.length + ") " : "") + s.mount_point + " · trainfs";
  byId("where").textContent = s.source + " on " + s.mount_point + (s.read_only ? ", read-only" : "");
  byId("daemon").textContent = "trainfs " + s.version + ", up " + age(s.started, s.now) + ", node " + s.node;
  byId("tiles").replaceChildren(...tiles(s));
  byId("errors").hidden = s.errors.length === 0;
  byId("errors").querySelector("ul").replaceChildren(
    ...s.errors.map((e) => node("li", "", node("b", "", e.path), ": ", e.text)),
    ...[more(s.more_errors || 0, "errors")].filter(Boolean));
  const list = s.trials.map((t) => node("div", "trial", node("h3", "", t.path), ...t.units.map((u) => unit(u, s.now)), more(t.more || 0, "here")));
  if (list.length === 0) list.push(node("p", "note", "No checkpoints on this node yet."));
  byId("trials").replaceChildren(node("h2", "", "Trials"), ...list, ...[more(s.more_trials || 0, "trials")].filter(Boolean));
}

async function look() {
  try {
    const answer = await fetch("status.json", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    show(await answer.json());
    byId("stale").hidden = true;
  } catch (e) {
    byId("stale").hidden = false;
  }
  setTimeout(look, every);
}

look();
