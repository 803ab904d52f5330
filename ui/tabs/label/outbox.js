// Decisions on their way: kept in the browser until the server has them, sent again until it has, each known by its token.
(() => {
  const PREFIX = "mirror-label:";
  const AT_ONCE = 50;
  const FIRST_WAIT_MS = 400, LONGEST_WAIT_MS = 5000, PATIENCE_MS = 20000;
  const memory = new Map(); // what the browser would not keep (storage full or refused)
  const held = new Set(); // tokens of another database or another person: kept, not sent
  const listeners = new Set();
  let count = 0, busy = false, wait = FIRST_WAIT_MS, timer = 0, trouble = "";

  const keys = () => {
    try {
      return Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
    } catch {
      return [];
    }
  };

  // Every decision under a key of its own, so that two pages of one browser never overwrite each other's.
  const all = () => {
    const found = new Map(memory);
    for (const key of keys()) {
      try {
        found.set(key, JSON.parse(localStorage.getItem(key)));
      } catch {
        localStorage.removeItem(key);
      }
    }
    return [...found.entries()].filter(([, decision]) => decision).sort(([a], [b]) => (a < b ? -1 : 1));
  };

  const put = (decision) => {
    count += 1;
    const key = `${PREFIX}${String(Date.now()).padStart(15, "0")}:${String(count).padStart(6, "0")}:${decision.token}`;
    try {
      localStorage.setItem(key, JSON.stringify(decision));
    } catch {
      memory.set(key, decision);
    }
    flush();
  };

  const drop = (token) => {
    for (const key of [...memory.keys(), ...keys()]) {
      if (key.endsWith(token)) {
        memory.delete(key);
        localStorage.removeItem(key);
      }
    }
  };

  // Behind a proxy that serves the page under a path; Gradio knows that path, and who opens it without a last slash does not.
  const home = () => {
    const root = window.gradio_config?.root;
    const path = root ? new URL(root, location.href).pathname.replace(/\/?$/, "/") : "/";
    return path === "/" ? document.baseURI : new URL(path, location.origin);
  };

  const post = async (what, body) => {
    const control = new AbortController();
    const alarm = setTimeout(() => control.abort(), PATIENCE_MS);
    try {
      const response = await fetch(new URL(`label/${what}`, home()), {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal: control.signal,
      });
      if (response.ok) return await response.json();
      const told = await response.json().catch(() => ({}));
      throw Object.assign(new Error(told.message || `HTTP ${response.status}`), { status: response.status });
    } finally {
      clearTimeout(alarm);
    }
  };

  const notify = (news) => listeners.forEach((listen) => listen(news));

  const waiting = () => all().filter(([, decision]) => !held.has(decision.token)).map(([, decision]) => decision);

  const state = () => ({ waiting: waiting().length, held: held.size, trouble });

  // One request at a time and in order: an undo must not overtake what it undoes.
  const flush = async () => {
    if (busy) return;
    busy = true;
    clearTimeout(timer);
    try {
      for (let batch; (batch = waiting().slice(0, AT_ONCE)).length; ) {
        const asked = [...listeners].map((listen) => listen.asks && listen.asks()).find(Boolean) || {};
        const answer = await post("decide", { ...asked, decisions: batch });
        for (const result of answer.results) {
          if (result.status === "elsewhere") held.add(result.token);
          else drop(result.token);
        }
        if (!answer.results.length) throw new Error("no results");
        trouble = "";
        wait = FIRST_WAIT_MS;
        notify({ results: answer.results, progress: answer.progress, gone: answer.gone, crowded: answer.crowded, queue: asked.queue });
      }
    } catch (error) {
      trouble = error.status === 401 ? "login" : "lost";
      timer = setTimeout(flush, wait);
      wait = Math.min(LONGEST_WAIT_MS, 2 * wait);
      notify({});
    } finally {
      busy = false;
    }
  };

  addEventListener("online", flush);
  window.mirrorOutbox = { put, post, flush, state, listeners };
  if (keys().length) flush();
})();
