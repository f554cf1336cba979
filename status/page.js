"use strict";
/* Keeps the status page fresh: every second, while the page is seen, it asks for the part of the page that changes, and
   puts into the page what is different, and nothing else. So what somebody has selected, scrolled or focused stays.
   What comes is the program's own HTML, in which all text from outside is escaped; scripts in it would not run. */
(function () {
  const page = document.getElementById("page");
  const byId = (id) => document.getElementById(id);
  const parse = (html) => new DOMParser().parseFromString(html, "text/html").body.firstElementChild;

  /* ---- times in the reader's own zone ---- */
  const pad = (n) => String(n).padStart(2, "0");
  const zoneOf = (date) => {
    const parts = new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" }).formatToParts(date);
    return (parts.find((part) => part.type === "timeZoneName") || { value: "" }).value;
  };
  const dayText = (date) => date.getFullYear() + "-" + pad(date.getMonth() + 1) + "-" + pad(date.getDate());
  const timeText = (ms, whole) => {
    const date = new Date(ms);
    const clock = pad(date.getHours()) + ":" + pad(date.getMinutes()) + ":" + pad(date.getSeconds());
    if (whole) return dayText(date) + " " + clock + " " + zoneOf(date);
    return date.toDateString() === new Date().toDateString() ? clock : dayText(date) + " " + clock;
  };
  const localize = (root) => {
    for (const element of root.querySelectorAll("time[data-ms]")) {
      const ms = Number(element.dataset.ms);
      element.textContent = timeText(ms, element.parentElement.classList.contains("whole"));
      element.dateTime = new Date(ms).toISOString();
      element.title = element.dateTime;
    }
    for (const element of root.querySelectorAll(".zone")) element.textContent = zoneOf(new Date());
    return root;
  };
  localize(document);
  if (!page) return;

  /* ---- only what is different is touched ---- */
  const isOwn = (node) => node.nodeType === 1 && node.hasAttribute("data-own");
  const keyOf = (node) => node.nodeType === 1 ? node.getAttribute("data-key") : null;
  const isOpened = (row) => row.nextElementSibling && row.nextElementSibling.classList.contains("opened");
  /* What visitor and script have set, and the server's page never says. */
  const isOurs = (name) => ["open", "aria-expanded", "aria-disabled"].includes(name);
  const syncAttributes = (old, fresh) => {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !isOurs(name)) old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
  };
  /* A list whose elements have keys. What stays is not moved; an opened row stays even when it is listed no more. */
  const morphList = (old, fresh) => {
    const there = new Map();
    for (const node of [...old.children]) {
      if (there.has(keyOf(node))) node.remove();
      else if (keyOf(node) !== null) there.set(keyOf(node), node);
    }
    const wanted = new Set([...fresh.children].map(keyOf));
    for (const [key, node] of there) if (!wanted.has(key) && !isOpened(node)) node.remove();
    let cursor = old.firstElementChild;
    const stays = (node) => node && (node.classList.contains("opened") || !wanted.has(keyOf(node)));
    const done = new Set();
    for (const node of [...fresh.children]) {
      if (done.has(keyOf(node))) continue;
      done.add(keyOf(node));
      const mine = there.get(keyOf(node));
      if (!mine) {
        while (cursor && cursor.classList.contains("opened")) cursor = cursor.nextElementSibling;
        if (old.dataset.filled && node.tagName === "TR") node.classList.add("fresh");
        old.insertBefore(document.importNode(node, true), cursor);
        continue;
      }
      while (stays(cursor)) cursor = cursor.nextElementSibling;
      const below = isOpened(mine) ? mine.nextElementSibling : null;
      if (mine === cursor) {
        cursor = cursor.nextElementSibling;
      } else {
        old.insertBefore(mine, cursor);
        if (below) old.insertBefore(below, cursor);
      }
      const link = mine.querySelector("a[data-open]"), before = link && link.getAttribute("href");
      if (mine.classList.contains("fresh")) node.classList.add("fresh");
      morph(mine, node);
      if (below && link.getAttribute("href") !== before) refill(mine, below);
    }
    old.dataset.filled = "yes";
  };
  const morphChildren = (old, fresh) => {
    const mine = [...old.childNodes], theirs = [...fresh.childNodes];
    for (let i = 0; i < theirs.length; i++) {
      if (i >= mine.length) old.append(document.importNode(theirs[i], true));
      else morph(mine[i], theirs[i]);
    }
    for (const node of mine.slice(theirs.length)) node.remove();
  };
  const morph = (old, fresh) => {
    if (isOwn(old) || old.isEqualNode(fresh)) return;
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(document.importNode(fresh, true));
    } else if (old.nodeType !== 1) {
      if (old.data !== fresh.data) old.data = fresh.data;
    } else if (old.tagName === "INPUT" && old.type === "radio") {
      return;
    } else {
      const filled = old.dataset.filled;
      syncAttributes(old, fresh);
      if (filled) old.dataset.filled = filled;
      if (old.hasAttribute("data-list")) morphList(old, fresh);
      else morphChildren(old, fresh);
    }
  };

  /* ---- one event or dead letter, opened below its row ---- */
  const get = async (address) => {
    const url = new URL(address, location.href);
    url.hash = "";
    url.searchParams.set("part", "1");
    const answer = await fetch(url, { cache: "no-store" });
    return { ok: answer.ok, gone: answer.status === 404, text: await answer.text() };
  };
  const load = async (row) => {
    const answer = await get(row.querySelector("a[data-open]").getAttribute("href"));
    if (answer.ok) return localize(parse(answer.text));
    if (!answer.gone) return null;
    const none = document.createElement("p");
    none.className = "hint";
    none.textContent = "It is not kept any more.";
    return none;
  };
  const open = async (link) => {
    const row = link.closest("tr");
    if (isOpened(row)) {
      row.nextElementSibling.remove();
      link.setAttribute("aria-expanded", "false");
      return;
    }
    const content = await load(row);
    if (!content || isOpened(row)) return;
    const below = document.createElement("tr"), cell = document.createElement("td");
    below.className = "opened";
    cell.className = "wide";
    cell.colSpan = row.cells.length;
    cell.append(document.importNode(content, true));
    below.append(cell);
    row.after(below);
    link.setAttribute("aria-expanded", "true");
  };
  /* What changed since: its state, a further attempt. */
  const refill = async (row, below) => {
    const content = await load(row).catch(() => null);
    if (content && content.tagName === "DIV" && below.isConnected) morph(below.firstElementChild.firstElementChild, content);
  };

  /* ---- what can be done ---- */
  const notice = byId("notice");
  const say = (words, good) => {
    notice.className = good ? "notice" : "notice bad";
    notice.textContent = words;
  };
  const act = async (form) => {
    const button = form.querySelector("button"), fields = new URLSearchParams(new FormData(form));
    fields.set("token", page.dataset.token);
    fields.set("format", "json");
    if (button.getAttribute("aria-disabled")) return;
    button.setAttribute("aria-disabled", "true");
    say("One moment\u2026", true);
    try {
      const answer = await fetch(location.pathname, { method: "POST", body: fields });
      const said = await answer.json();
      say(said.words || said.error || "It did not work.", answer.ok && said.good);
    } catch (error) {
      say("No answer came: look whether it was done before you try again.", false);
    }
    button.removeAttribute("aria-disabled");
    const details = form.closest("details");
    if (details) {
      details.open = false;
      details.querySelector("summary").focus();
    }
    refresh();
  };
  document.addEventListener("submit", (event) => {
    if (!event.target.hasAttribute("data-act")) return;
    event.preventDefault();
    act(event.target);
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-open]");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      open(link).catch(() => {});
      return;
    }
    const copy = event.target.closest("button.copy");
    if (copy) {
      const text = copy.parentElement.querySelector(".address").textContent;
      navigator.clipboard.writeText(text).then(() => { copy.textContent = "Copied"; setTimeout(() => { copy.textContent = "Copy"; }, 1500); }, () => {});
    }
  });
  if (navigator.clipboard) for (const button of document.querySelectorAll("button.copy")) button.hidden = false;

  /* ---- looking for events: as typed ---- */
  const filter = byId("filter");
  const find = () => {
    const url = new URL(location.href);
    for (const [name, value] of new FormData(filter)) {
      if (value) url.searchParams.set(name, value);
      else url.searchParams.delete(name);
    }
    url.searchParams.delete("done");
    history.replaceState(null, "", url);
    byId("events").removeAttribute("data-filled");
    refresh();
  };
  let typing = 0;
  filter.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(find, 200); });
  filter.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(typing); find(); });
  filter.querySelector(".clear").addEventListener("click", (event) => {
    event.preventDefault();
    for (const field of filter.elements) if (field.name) field.value = "";
    find();
  });

  /* ---- every second ---- */
  const live = byId("live"), icon = document.querySelector("link[rel=icon]");
  let asked = 0, turns = 0;
  const refresh = async () => {
    const mine = ++asked;
    try {
      const answer = await get(location.href);
      if (!answer.ok) throw new Error();
      if (mine !== asked) return;
      const fresh = localize(parse(answer.text));
      morph(page, fresh);
      for (const below of turns % 3 === 0 ? document.querySelectorAll("tr.opened") : []) {
        const row = below.previousElementSibling;
        if (row.querySelector(".tag.waiting")) refill(row, below); /* a further attempt */
      }
      if (document.title !== page.dataset.title) document.title = page.dataset.title;
      if (icon.getAttribute("href") !== page.dataset.icon) icon.href = page.dataset.icon;
      for (const field of document.querySelectorAll("input[name=token]")) field.value = page.dataset.token;
      if (live.textContent !== "live") live.textContent = "live";
    } catch (error) {
      if (mine === asked) live.textContent = "no answer, trying again";
    }
  };
  const turn = async () => {
    turns++;
    if (!document.hidden) await refresh();
    setTimeout(turn, 1000);
  };
  for (const list of document.querySelectorAll("[data-list]")) list.dataset.filled = "yes";
  turn();
})();
