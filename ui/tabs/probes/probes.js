// The board of the Probes tab: which run is shown, how it goes, what can be done with it. The matrix itself is in
// matrix.js, one cell enlarged in cell.js; all text is put in as text, never as HTML.
window.mirrorProbes = window.mirrorProbes || {};
(() => {
  const POLL_MS = 2000;
  const IDLE_POLLS = 4; // while nothing goes on, only every so many polls ask
  const MANY = 800; // cells; with more of them every third poll asks, for each one costs the program a moment
  const M = window.mirrorProbes;

  M.el = (tag, props = {}, ...kids) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(props)) {
      if (value === null || value === undefined || value === false) continue;
      if (key === "class") node.className = value;
      else if (key === "text") node.textContent = value;
      else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key === "data") Object.assign(node.dataset, value);
      else node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...kids.flat().filter((kid) => kid !== null && kid !== undefined && kid !== false));
    return node;
  };
  const { el } = M;

  M.clock = (seconds) => {
    const whole = Math.max(0, Math.round(seconds));
    const pad = (number) => String(number).padStart(2, "0");
    const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
    return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
  };

  M.start = (element, props, server, watch) => {
    const S = {
      root: element.querySelector(".pb-root"), bar: document.querySelector("#pb-bar .pb-upper"), server, words: null, wordOrder: [], runs: [], active: null, run: null, state: null,
      columns: [], probes: [], cells: new Map(), stamp: "", count: 0, other: null, sides: null, opening: 0,
    };
    M.board = S;
    S.t = (key, values = {}) => (S.words[key] ?? key).replace(/\{(\w+)\}/g, (all, name) => (name in values ? values[name] : all));
    S.suggestion = (at) => S.t(`pb_word_${S.wordOrder[at].replace(/ /g, "_")}`);
    S.mark = (at) => S.t(`pb_mark_${S.wordOrder[at].replace(/ /g, "_")}`);
    S.call = async (name, given = {}) => {
      let told;
      try {
        told = await server[name](given);
      } catch {
        told = null;
      }
      if (!told || typeof told !== "object") throw new Error(S.words ? S.t("pb_no_answer") : "The program does not answer.");
      if (told.error) throw new Error(told.error);
      return told;
    };
    S.say = (text, bad = false) => {
      if (!S.note) return;
      S.note.textContent = text;
      S.note.className = bad ? "pb-note mt-failed" : "pb-note";
      S.note.hidden = !text;
    };
    S.attempt = async (act) => {
      try {
        return await act();
      } catch (error) {
        S.say(error.message, true);
        return null;
      }
    };
    const form = () => document.getElementById("pb-form");
    S.showForm = (there) => {
      form()?.classList.toggle("mt-hidden", !there);
      S.newRun?.setAttribute("aria-expanded", String(there));
    };
    S.open = (run) => S.attempt(() => open(S, run));
    const shown = () => {
      if (props.value && typeof props.value === "object" && props.value.at) S.open(props.value.run);
    };
    watch("value", shown);
    shown();
    let idle = 0;
    setInterval(() => {
      if (!S.words || !S.root.isConnected || !S.root.offsetParent || document.hidden) return;
      if (!S.state?.here && S.active === null && ++idle % IDLE_POLLS) return;
      if (S.count > MANY && ++idle % 3) return;
      poll(S);
    }, POLL_MS);
  };

  const open = async (S, run) => {
    const turn = ++S.opening;
    const told = await S.call("pb_open", { run, words: !S.words });
    if (turn !== S.opening) return; // another run was chosen meanwhile
    if (told.words) S.words = told.words;
    Object.assign(S, { wordOrder: told.word_order, runs: told.runs, active: told.active, run: null, state: null });
    if (told.run) {
      Object.assign(S, {
        run: told.run, columns: told.columns, probes: told.probes, sides: told.sides, cells: new Map(), count: 0, stamp: "",
        other: null, summary: "", state: null,
      });
    }
    draw(S);
    if (told.run) take(S, told);
    S.showForm(!told.run);
  };

  const poll = async (S) => {
    if (S.polling) return;
    S.polling = true;
    const run = S.run?.id ?? null;
    try {
      const told = await S.call("pb_news", { run, stamp: S.stamp, since: S.count });
      S.active = told.active;
      if (S.lost) S.say("");
      S.lost = false;
      if (run !== null && S.run?.id === run) take(S, told);
      else drawHead(S);
    } catch (error) {
      S.lost = true;
      S.say(error.message, true);
    } finally {
      S.polling = false;
    }
  };

  // Cells come as short lists, in the order of `probe_board.cells`.
  const take = (S, told) => {
    if (told.whole) {
      S.cells = new Map();
      S.count = 0;
    }
    for (const [probe, variant, sample, text, word, unsure, finish, check, problem, reused, margin] of told.cells) {
      const slot = `${probe}|${variant}`;
      if (!S.cells.has(slot)) S.cells.set(slot, []);
      const cell = { probe, variant, sample, text, word, unsure: !!unsure, finish, check, problem, reused: !!reused, margin };
      const list = S.cells.get(slot);
      list.push(cell);
      if (list.length > 1) list.sort((a, b) => a.sample - b.sample);
    }
    S.count += told.cells.length;
    const fresh = told.whole || told.cells.length;
    const before = S.state?.status;
    Object.assign(S, { stamp: told.stamp, state: told.state });
    if (told.summary !== undefined) {
      S.summary = told.summary;
      S.summaryBox.innerHTML = told.summary; // written by the server, every text in it escaped there
      S.summaryFold.hidden = !told.summary;
    }
    drawHead(S);
    if ((before && before !== told.state.status) || !S.runs.some((run) => run.id === S.run.id)) S.attempt(() => relist(S));
    if (fresh) M.fill(S);
  };

  const relist = async (S) => {
    const told = await S.call("pb_open", {});
    Object.assign(S, { runs: told.runs, active: told.active });
    drawRuns(S);
  };

  const runWords = (S, run) => {
    const name = run.name || run.set_name || S.t("pb_unnamed");
    const where = run.status === "done" ? `${run.total}` : `${run.done}/${run.total} ${S.t(`pb_status_${run.status}`)}`;
    return S.t("pb_run_line", { id: run.id, name, where });
  };

  const drawRuns = (S) => {
    S.runList.replaceChildren(
      ...S.runs.map((run) => el("option", { value: run.id, text: runWords(S, run), ...(run.id === S.run?.id ? { selected: true } : {}) })),
    );
    S.runList.disabled = !S.runs.length;
    const others = S.runs.filter((run) => run.id !== S.run?.id);
    const chosen = S.other?.run ?? "";
    S.otherList?.replaceChildren(
      el("option", { value: "", text: S.t("pb_compare_none") }),
      ...others.map((run) => el("option", { value: run.id, text: runWords(S, run), ...(run.id === chosen ? { selected: true } : {}) })),
    );
  };

  const draw = (S) => {
    S.runList = el("select", { id: "pb-runs", "aria-label": S.t("pb_runs"), onchange: () => S.open(Number(S.runList.value)) });
    S.newRun = el("button", {
      type: "button", id: "pb-new-run", class: "pb-button", "aria-expanded": "false", "aria-controls": "pb-form", text: S.t("pb_new_run"),
      onclick: () => S.showForm(form_away()),
    });
    S.elsewhere = el("span", { class: "pb-elsewhere", role: "status" });
    S.note = el("p", { class: "pb-note", role: "status", hidden: true });
    S.head = el("div", { class: "pb-head", id: "pb-head" });
    S.summaryBox = el("div", { class: "pb-summary-box prose" });
    S.summaryFold = el("details", { class: "pb-fold", id: "pb-summary", open: true, hidden: true },
      el("summary", { text: S.t("pb_summary") }), S.summaryBox);
    S.bar.replaceChildren(
      el("div", { class: "pb-top" }, el("label", { class: "pb-pick" }, S.t("pb_runs"), S.runList), S.newRun, S.elsewhere),
    );
    S.root.replaceChildren(S.note);
    S.headSignature = "";
    S.otherList = null;
    if (S.run) {
      S.root.append(S.head, S.summaryFold);
      M.build(S);
    } else {
      S.root.append(el("p", { class: "mt-nothing", text: S.t("pb_no_runs") }));
    }
    drawRuns(S);
    drawHead(S);
  };

  const form_away = () => document.getElementById("pb-form")?.classList.contains("mt-hidden");

  const drawHead = (S) => {
    const active = S.active !== null && S.active !== S.run?.id;
    S.elsewhere.replaceChildren(
      ...(active
        ? [S.t("pb_elsewhere", { id: S.active }), " ",
           el("button", { type: "button", class: "pb-link", text: S.t("pb_show_it"), onclick: () => S.open(S.active) })]
        : []),
    );
    if (!S.run || !S.state) return;
    const { state, run } = S;
    const known = S.runs.find((one) => one.id === run.id);
    if (known && (known.done !== state.done || known.status !== state.status)) {
      Object.assign(known, { done: state.done, status: state.status });
      const option = [...S.runList.options].find((one) => Number(one.value) === run.id);
      if (option) option.textContent = runWords(S, known);
    }
    const kind = { running: "busy", paused: "wait", done: "done", failed: "bad", interrupted: "bad", stopped: "over" }[state.status];
    const title = S.t("pb_run_title", { id: run.id, name: run.name || run.set_name || S.t("pb_unnamed") });
    const word = state.stopping ? S.t("pb_stopping") : S.t(`pb_status_${state.status}`);
    const share = state.total ? (100 * state.done) / state.total : 0;
    const cells = [...S.cells.values()].flat();
    const reused = state.reused ?? cells.filter((cell) => cell.reused).length;
    const failed = cells.filter((cell) => cell.problem).length;
    const facts = [el("strong", { text: `${state.done}/${state.total}` })];
    if (state.elapsed_s !== null) facts.push(S.t("pb_elapsed", { time: M.clock(state.elapsed_s) }));
    if (state.here && state.status === "running" && state.done < state.total)
      facts.push(state.left_s === null ? S.t("pb_left_unknown") : S.t("pb_left", { time: M.clock(state.left_s) }));
    if (state.phase === "margin") facts.push(S.t("pb_measuring", { done: state.measured[0], total: state.measured[1] }));
    if (reused) facts.push(S.t("pb_reused", { number: reused }));
    if (failed) facts.push(S.t("pb_failed_cells", { number: failed }));
    facts.push(S.t(`pb_${run.mode}`));
    if (run.samples > 1) facts.push(S.t("pb_with_samples", { number: run.samples }));
    facts.push(run.base);
    if (S.sides) facts.push(S.t("pb_sides", { old: S.sides[0] || "–", new: S.sides[1] || "–" }));
    const act = (name, key, more = "") =>
      el("button", {
        type: "button", class: `pb-button ${more}`, id: `pb-${name}`, text: S.t(key),
        onclick: (event) => {
          event.target.disabled = true;
          S.attempt(async () => {
            S.state = (await S.call("pb_act", { run: run.id, act: name })).state;
            S.say("");
            drawHead(S);
            await poll(S);
            await relist(S);
          }).finally(() => { event.target.disabled = false; });
        },
      });
    const buttons = [];
    if (state.here) {
      buttons.push(state.status === "paused" ? act("continue", "pb_continue", "pb-first") : act("pause", "pb_pause"));
      buttons.push(act("stop", "pb_stop"));
    } else if (state.status !== "done" && !state.elsewhere) buttons.push(act("continue", "pb_continue", "pb-first"));
    const signature = JSON.stringify([state.status, state.here, state.stopping, state.message, state.elsewhere]);
    const progress = [
      el("div", {
        class: "mt-progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": state.total, "aria-valuenow": state.done,
        "aria-label": title,
      }, el("i", { style: `width:${share.toFixed(1)}%` })),
    ];
    const line = el("div", { class: "mt-facts pb-facts" }, facts.map((fact) => el("span", {}, fact)));
    if (S.headSignature === signature && S.head.firstChild) {
      // only the figures: a button that is being pressed stays where it is
      S.head.querySelector(".mt-progress i").style.width = `${share.toFixed(1)}%`;
      S.head.querySelector(".mt-progress").setAttribute("aria-valuenow", state.done);
      S.head.querySelector(".pb-facts").replaceWith(line);
      return;
    }
    S.headSignature = signature;
    S.head.replaceChildren(
      el("div", { class: "pb-title" },
        el("h2", {}, title, el("span", { class: `mt-state mt-state-${kind}`, role: "status", text: word })),
        el("div", { class: "pb-buttons" }, buttons)),
      ...progress,
      line,
      ...(state.status === "interrupted" ? [el("p", { class: "mt-note mt-note-warn", text: S.t("pb_interrupted") })] : []),
      ...(state.elsewhere ? [el("p", { class: "mt-note", text: S.t("pb_under_way_elsewhere", state.elsewhere) })] : []),
      ...(state.message && state.status === "failed" ? [el("p", { class: "mt-failed", role: "alert", text: state.message })] : []),
      ...(state.here ? [el("p", { class: "mt-quiet", text: S.t("pb_safe") })] : []),
    );
  };
})();
