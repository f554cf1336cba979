"use strict";
/* Keeps the status page fresh: asks for the facts as JSON every second while the page is seen. All text goes in by
   textContent; only charts, which hold nothing but numbers, come as elements, from the page itself. */
(function () {
  const page = document.getElementById("page");
  const byId = (id) => document.getElementById(id);
  const make = (name, text, className) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const address = (more) => {
    const url = new URL(location.href);
    url.hash = "";
    const source = url.searchParams.get("source");
    url.search = "";
    if (source) url.searchParams.set("source", source);
    for (const [name, value] of Object.entries(more)) url.searchParams.set(name, value);
    return url;
  };
  const pad = (n) => String(n).padStart(2, "0");
  const timeText = (ms) => {
    const date = new Date(ms), now = new Date();
    const clock = pad(date.getHours()) + ":" + pad(date.getMinutes()) + ":" + pad(date.getSeconds());
    if (date.toDateString() === now.toDateString()) return clock;
    return date.getFullYear() + "-" + pad(date.getMonth() + 1) + "-" + pad(date.getDate()) + " " + clock;
  };
  const timeElement = (ms) => {
    if (!ms) return make("span", "never");
    const element = make("time", timeText(ms));
    element.dataset.ms = ms;
    element.title = new Date(ms).toISOString();
    return element;
  };
  for (const element of document.querySelectorAll("time[data-ms]")) {
    element.replaceWith(timeElement(Number(element.dataset.ms)));
  }
  if (!page) return;

  const span = (seconds) => {
    for (const [unit, word] of [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]]) {
      if (seconds >= 2 * unit || (unit === 1 && seconds >= 1)) {
        const n = Math.floor(seconds / unit);
        return n + " " + word + (n === 1 ? "" : "s");
      }
    }
    return "a moment";
  };
  const bytesText = (n) => n < 1024 ? n + "\u00a0B" : n < 1048576 ? (n / 1024).toFixed(1) + "\u00a0KiB" : (n / 1048576).toFixed(1) + "\u00a0MiB";
  const refusedText = (refused) => {
    const words = Object.entries(refused).map(([word, n]) => n.toLocaleString("en") + " " + word.replace(/_/g, " "));
    return words.length ? "refused " + words.join(", ") : "none refused";
  };

  /* One event or dead letter, opened below its row. */
  const part = (title, text, note) => {
    const box = make("div");
    box.append(make("h2", title));
    if (note) box.append(make("p", note, "hint"));
    box.append(make("pre", text));
    return box;
  };
  const open = async (link) => {
    const row = link.closest("tr");
    const next = row.nextElementSibling;
    if (next && next.classList.contains("opened")) { next.remove(); return; }
    const [kind, number] = link.dataset.open.split("=");
    const answer = await fetch(address({ [kind]: number, format: "json" }), { cache: "no-store" });
    const below = make("tr", undefined, "opened");
    const cell = make("td", undefined, "wide");
    cell.colSpan = row.cells.length;
    if (answer.ok) {
      const found = await answer.json();
      const bodies = make("div", undefined, "bodies");
      bodies.append(part("Incoming event", found.incoming, found.incoming_note), part("Message sent", found.message, found.message_note));
      cell.append(bodies);
    } else {
      cell.append(make("p", "It is not kept any more.", "hint"));
    }
    below.append(cell);
    row.after(below);
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-open]");
    if (link) { event.preventDefault(); open(link).catch(() => {}); return; }
    const copy = event.target.closest("button.copy");
    if (copy) {
      const text = copy.parentElement.querySelector(".address").textContent;
      navigator.clipboard.writeText(text).then(() => { copy.textContent = "Copied"; setTimeout(() => { copy.textContent = "Copy"; }, 1500); }, () => {});
    }
  });
  if (navigator.clipboard) for (const button of document.querySelectorAll("button.copy")) button.hidden = false;

  const eventRow = (event) => {
    const row = make("tr");
    row.dataset.number = event.number;
    const name = make("td"), state = make("td"), when = make("td");
    when.append(timeElement(Date.parse(event.time)));
    if (event.number > 0) {
      const link = make("a", event.name);
      link.href = "?event=" + event.number;
      link.dataset.open = "event=" + event.number;
      name.append(link);
    } else {
      name.textContent = event.name;
    }
    state.append(make("span", event.state, "tag " + event.state), " " + event.reason);
    row.append(when, name, make("td", event.lead), make("td", event.source), make("td", bytesText(event.bytes), "number"), state);
    return row;
  };
  const showEvents = (events) => {
    const body = byId("events");
    const kept = new Map();
    for (const row of [...body.rows]) {
      if (row.dataset.number > 0) {
        const below = row.nextElementSibling;
        kept.set(row.dataset.number, below && below.classList.contains("opened") ? [row, below] : [row]);
      }
    }
    const first = body.dataset.filled !== "yes";
    const rows = [];
    for (const event of events) {
      const old = kept.get(String(event.number));
      if (old) { rows.push(...old); continue; }
      const row = eventRow(event);
      if (!first && event.number > 0) row.className = "fresh";
      rows.push(row);
    }
    if (!rows.length) {
      const none = make("tr", undefined, "none");
      const cell = make("td", "No events lately.");
      cell.colSpan = 6;
      none.append(cell);
      rows.push(none);
    }
    body.dataset.filled = "yes";
    body.replaceChildren(...rows);
  };

  const replayForm = (id) => {
    const form = make("form");
    form.method = "post";
    for (const [name, value] of [["token", page.dataset.token], ["action", "replay"], ["letter", id]]) {
      const field = make("input");
      field.type = "hidden";
      field.name = name;
      field.value = value;
      form.append(field);
    }
    form.append(make("button", "Replay"));
    return form;
  };
  let lettersShown = null;
  const showLetters = (letters) => {
    const now = JSON.stringify(letters);
    if (now === lettersShown) return;
    lettersShown = now;
    const rows = letters.map((letter) => {
      const row = make("tr"), when = make("td"), reason = make("td"), act = make("td");
      row.dataset.letter = letter.id;
      when.append(timeElement(Date.parse(letter.died)));
      const link = make("a", letter.reason);
      link.href = "?letter=" + letter.id;
      link.dataset.open = "letter=" + letter.id;
      reason.append(link);
      act.append(letter.replayed ? make("span", "on its way", "tag waiting") : replayForm(letter.id));
      row.append(when, reason, make("td", letter.source), make("td", bytesText(letter.bytes), "number"), act);
      return row;
    });
    if (!rows.length) {
      const none = make("tr", undefined, "none");
      const cell = make("td", "None.");
      cell.colSpan = 5;
      none.append(cell);
      rows.push(none);
    }
    byId("letters").replaceChildren(...rows);
  };

  const showSource = (source) => {
    const card = [...document.querySelectorAll("article.source")].find((one) => one.dataset.source === source.name);
    if (!card) return;
    card.className = "source " + source.state;
    card.querySelector(".words").textContent = source.words;
    for (const name of ["accepted", "delivered", "waiting", "dead", "duplicates", "dropped"]) {
      card.querySelector("[data-fact=" + name + "]").textContent = source[name].toLocaleString("en");
    }
    card.querySelector("[data-fact=oldest]").textContent = source.waiting ? span(source.oldest_waiting_seconds) : "none";
    card.querySelector("[data-fact=refused]").textContent = refusedText(source.refused);
  };
  const show = (facts) => {
    const state = byId("state");
    state.className = "state " + facts.state;
    if (state.textContent !== facts.words) state.textContent = facts.words;
    byId("now").replaceChildren(timeElement(Date.parse(facts.now)));
    byId("nowhere").textContent = refusedText(facts.refused);
    facts.sources.forEach(showSource);
    showEvents(facts.events);
    if (!new URL(location.href).searchParams.has("letters_after")) showLetters(facts.dead_letters);
  };

  const refreshPage = async () => {
    const answer = await fetch(address({}), { cache: "no-store" });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const charts = fresh.getElementById("charts");
    if (charts) byId("charts").replaceWith(document.importNode(charts, true));
    const token = fresh.getElementById("page").dataset.token;
    page.dataset.token = token;
    for (const field of document.querySelectorAll("input[name=token]")) field.value = token;
  };
  let turns = 0;
  const live = byId("live");
  const turn = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(address({ format: "json" }), { cache: "no-store" });
        if (!answer.ok) throw new Error(answer.status);
        show(await answer.json());
        live.textContent = "live";
        if (++turns % 30 === 0) await refreshPage();
      } catch (error) {
        live.textContent = "no answer, trying again";
      }
    }
    setTimeout(turn, 1000);
  };
  turn();
})();
