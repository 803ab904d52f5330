// The matrix: probes down, variants across. Filtering, searching, ordering and starring happen here, in the browser, and only
// the rows in view are in the document, so that 200 probes of 8 variants move as fast as 8 of 2.
window.mirrorProbes = window.mirrorProbes || {};
(() => {
  const M = window.mirrorProbes;
  const ROW = 124, HEAD = 34, AROUND = 500; // pixels: a row, a category's line, and how far beyond the edge rows are drawn
  const LANGS = { en: "EN", zh: "中" };

  M.kept = {
    key: (S, what) => `mirror-probes:${S.run.created}:${what}`,
    read: (S, what, otherwise) => {
      try {
        return JSON.parse(localStorage.getItem(M.kept.key(S, what))) ?? otherwise;
      } catch {
        return otherwise;
      }
    },
    write: (S, what, value) => {
      try {
        localStorage.setItem(M.kept.key(S, what), JSON.stringify(value));
      } catch { /* a private window keeps nothing; the page works all the same */ }
    },
  };

  M.build = (S) => {
    const { el } = M;
    const names = S.columns.map((column) => column.name);
    const view = M.kept.read(S, "columns", {});
    const order = (view.order || []).filter((name) => names.includes(name));
    S.view = {
      order: [...order, ...names.filter((name) => !order.includes(name))],
      hidden: new Set((view.hidden || []).filter((name) => names.includes(name))),
      pinned: new Set((view.pinned || []).filter((name) => names.includes(name))),
    };
    S.starred = new Set(M.kept.read(S, "starred", []));
    S.filter = { group: "", category: "", lang: "", text: "", show: "all" };
    S.at = null;
    S.byId = new Map(S.probes.map((probe) => [probe.id, probe]));
    S.twins = new Map();
    for (const probe of S.probes) {
      probe.words = `${probe.id} ${probe.turns.join(" ")}`.toLowerCase();
      if (probe.pair) S.twins.set(`${probe.pair}|${probe.lang}`, probe);
    }
    const select = (id, label, options, key) =>
      el("label", { class: "pb-pick" }, label,
        el("select", { id, onchange: (event) => { S.filter[key] = event.target.value; M.fill(S); } },
          el("option", { value: "", text: S.t("pb_all_of_them") }), options.map(([value, text]) => el("option", { value, text }))));
    const distinct = (key) => [...new Set(S.probes.map((probe) => probe[key]))];
    const search = el("input", {
      type: "search", id: "pb-search", placeholder: S.t("pb_search"), "aria-label": S.t("pb_search"),
      oninput: (event) => { S.filter.text = event.target.value.trim().toLowerCase(); M.fill(S); },
    });
    S.otherList = el("select", { id: "pb-other", onchange: () => S.attempt(() => M.compare(S, S.otherList.value)) });
    S.hiddenBox = el("span", { class: "pb-hidden" });
    S.chips = el("div", { class: "pb-chips", role: "group", "aria-label": S.t("pb_filter") });
    S.count_ = el("span", { class: "pb-count", id: "pb-count", role: "status" });
    S.canvas = el("div", { class: "pb-canvas" });
    S.columnHead = el("div", { class: "pb-row pb-row-head", role: "row" });
    S.grid = el("div", { class: "pb-grid", id: "pb-grid", role: "grid", "aria-label": S.t("pb_matrix"), tabindex: "-1" }, S.columnHead, S.canvas);
    S.grid.addEventListener("scroll", () => requestAnimationFrame(() => windowed(S)), { passive: true });
    S.grid.addEventListener("keydown", (event) => keys(S, event));
    S.drawn = new Map();
    const exporting = ["csv", "jsonl", "md"].map((kind) =>
      el("button", { type: "button", class: "pb-link", id: `pb-export-${kind}`, text: { csv: "CSV", jsonl: "JSONL", md: "Markdown" }[kind],
        onclick: () => S.attempt(() => M.save(S, kind)) }));
    S.root.append(
      el("div", { class: "pb-tools" }, search,
        select("pb-group", S.t("pb_group"), distinct("group").map((group) => [group, S.t(`pb_group_${group}`)]), "group"),
        select("pb-category", S.t("pb_category"), distinct("category").map((one) => [one, S.words[`pb_cat_${one}`] ?? one]), "category"),
        select("pb-language", S.t("pb_language"), distinct("lang").map((lang) => [lang, S.t(`pb_lang_${lang}`)]), "lang"),
        el("label", { class: "pb-pick" }, S.t("pb_compare"), S.otherList), S.hiddenBox),
      S.chips,
      el("div", { class: "pb-actions" }, S.count_,
        el("span", { class: "pb-exports" }, S.t("pb_export"), " ", exporting),
        el("button", { type: "button", class: "pb-button", id: "pb-send", "aria-expanded": "false", text: S.t("pb_send"), onclick: () => M.sending(S) })),
      (S.sendBox = el("div", { class: "pb-send-box", hidden: true })),
      S.grid,
      legend(S),
    );
    addEventListener("resize", () => windowed(S));
    // in a tab that is not shown nothing has a height; it is drawn when it gets one
    new ResizeObserver(() => windowed(S)).observe(S.grid);
  };

  const legend = (S) =>
    M.el("p", { class: "pb-legend" }, M.el("span", { text: S.t("pb_legend") }),
      S.wordOrder.map((_, at) => M.el("span", {}, dot(S, at), " ", S.suggestion(at))));

  const dot = (S, at, title = "") => M.el("i", { class: `pb-dot pb-w${at}`, title: title || null, text: at < 0 ? "·" : S.mark(at) });

  M.visible = (S) => {
    const there = S.view.order.filter((name) => !S.view.hidden.has(name));
    const sorted = [...there.filter((name) => S.view.pinned.has(name)), ...there.filter((name) => !S.view.pinned.has(name))];
    return sorted.map((name) => S.columns.findIndex((column) => column.name === name));
  };
  M.headline = (S, probe, variant) => S.cells.get(`${probe}|${variant}`)?.[0];
  M.starKey = (S, probe, variant) => `${probe}|${S.columns[variant].name}`;
  M.isStarred = (S, probe, variant) => S.starred.has(M.starKey(S, probe, variant));
  M.toggleStar = (S, probe, variant) => {
    const key = M.starKey(S, probe, variant);
    if (!S.starred.delete(key)) S.starred.add(key);
    M.kept.write(S, "starred", [...S.starred]);
    S.drawn.clear();
    M.fill(S);
  };

  // What a cell is by itself; a filter of this kind dims the cells beside it.
  const cellIs = (S, show, probe, variant) => {
    if (show === "starred") return M.isStarred(S, probe, variant);
    const cell = M.headline(S, probe, variant);
    if (!cell) return false;
    if (show === "failed") return !!cell.problem;
    if (show === "unsure") return cell.unsure;
    if (show === "wrong") return cell.check === false;
    if (show === "unstable") return M.unstable(S, probe, variant);
    if (show === "changed") return M.changed(S, cell);
    return show[0] === "w" && cell.word === Number(show.slice(1));
  };
  M.unstable = (S, probe, variant) => new Set((S.cells.get(`${probe}|${variant}`) || []).filter((one) => !one.problem).map((one) => one.word)).size > 1;
  M.changed = (S, cell) => {
    const before = S.other?.cells.get(M.starKey(S, cell.probe, cell.variant));
    return !!before && before.text !== cell.text;
  };
  const rowIs = (S, show, probe, variants) => {
    if (show === "all") return true;
    if (show === "different" || show === "judged") {
      const there = variants.map((variant) => M.headline(S, probe.id, variant)).filter((cell) => cell && !cell.problem);
      return new Set(there.map((cell) => (show === "judged" ? `${cell.word}/${cell.check}` : cell.text))).size > 1;
    }
    return variants.some((variant) => cellIs(S, show, probe.id, variant));
  };

  const shows = (S) => {
    const cells = [...S.cells.values()].map((list) => list[0]);
    const words = S.wordOrder.map((_, at) => at).filter((at) => cells.some((cell) => cell.word === at));
    return [
      "all", "different", "judged", ...words.map((at) => `w${at}`), "unsure",
      ...(S.run.samples > 1 ? ["unstable"] : []),
      ...(cells.some((cell) => cell.check === false) ? ["wrong"] : []), "failed", "starred", ...(S.other ? ["changed"] : []),
    ];
  };
  const showWords = (S, show) => (/^w\d$/.test(show) ? S.t("pb_suggested", { word: S.suggestion(Number(show.slice(1))) }) : S.t(`pb_show_${show}`));

  // Everything that follows from data, filters and columns.
  M.fill = (S) => {
    const begun = performance.now();
    const variants = M.visible(S);
    const { group, category, lang, text, show } = S.filter;
    const found = S.probes.filter(
      (probe) =>
        (!group || probe.group === group) && (!category || probe.category === category) && (!lang || probe.lang === lang) &&
        (!text || probe.words.includes(text) ||
          variants.some((variant) => {
            const cell = M.headline(S, probe.id, variant);
            return cell && (cell.lower ??= cell.text.toLowerCase()).includes(text);
          })),
    );
    const kinds = shows(S);
    if (!kinds.includes(show)) S.filter.show = "all";
    S.chips.replaceChildren(
      ...kinds.map((kind) => {
        const number = found.filter((probe) => rowIs(S, kind, probe, variants)).length;
        const at = /^w\d$/.test(kind) ? Number(kind.slice(1)) : null;
        return M.el("button", {
          type: "button", class: "pb-chip", "aria-pressed": String(kind === S.filter.show), data: { show: kind },
          onclick: () => { S.filter.show = kind; M.fill(S); S.chips.querySelector(`[data-show="${kind}"]`)?.focus(); },
        }, at === null ? null : dot(S, at), showWords(S, kind), M.el("b", { text: number }));
      }),
    );
    const ordered = found.filter((probe) => rowIs(S, S.filter.show, probe, variants)).sort(byPlace(S));
    S.rows = [];
    let place = 0, last = "";
    for (const probe of ordered) {
      const title = `${probe.group}/${probe.category}`;
      if (title !== last) {
        const number = ordered.filter((one) => `${one.group}/${one.category}` === title).length;
        S.rows.push({ key: `# ${title}`, probe: null, group: probe.group, category: probe.category, number, top: place });
        place += HEAD;
        last = title;
      }
      S.rows.push({ key: probe.id, probe, top: place });
      place += ROW;
    }
    S.shownProbes = ordered;
    S.canvas.style.height = `${place}px`;
    S.canvas.classList.toggle("pb-empty", !ordered.length);
    S.canvas.dataset.nothing = S.t("pb_nothing");
    const most = Math.max(0.05, ...[...S.cells.values()].map((list) => Math.abs(list[0].margin ?? 0)));
    S.mostMargin = most;
    S.count_.textContent = S.t("pb_shown", { rows: ordered.length, all: S.probes.length, variants: variants.length });
    layout(S, variants);
    S.drawn.clear();
    S.canvas.replaceChildren();
    windowed(S);
    S.root.dataset.ms = (performance.now() - begun).toFixed(1);
  };

  const byPlace = (S) => {
    S.place ??= new Map();
    const groups = [...new Set(S.probes.map((probe) => probe.group))];
    const categories = [...new Set(S.probes.map((probe) => probe.category))];
    const place = new Map(S.probes.map((probe, at) => [probe.id, at]));
    // twins stand one under the other, at the place of whoever comes first
    const pairs = new Map();
    for (const probe of S.probes) if (probe.pair && !pairs.has(probe.pair)) pairs.set(probe.pair, place.get(probe.id));
    const at = (probe) => (probe.pair ? pairs.get(probe.pair) : place.get(probe.id));
    return (a, b) =>
      groups.indexOf(a.group) - groups.indexOf(b.group) || categories.indexOf(a.category) - categories.indexOf(b.category) ||
      at(a) - at(b) || place.get(a.id) - place.get(b.id);
  };

  const layout = (S, variants) => {
    const narrow = S.root.clientWidth && S.root.clientWidth < 900;
    const [question, least] = narrow ? [170, 206] : [250, 230];
    const pinned = variants.filter((variant) => S.view.pinned.has(S.columns[variant].name)).length;
    const tracks = [`${question}px`, ...variants.map((_, at) => (at < pinned ? `${least}px` : `minmax(${least}px, 1fr)`))];
    S.grid.style.setProperty("--pb-tracks", tracks.join(" "));
    S.grid.style.setProperty("--pb-wide", `${question + least * variants.length}px`);
    S.left = (at) => (at < pinned ? `${question + at * least}px` : null);
    S.grid.setAttribute("aria-rowcount", S.rows.length + 1);
    M.columnHeads(S, variants);
  };

  // Only the rows in view.
  const windowed = (S) => {
    if (!S.rows || !S.grid.isConnected) return;
    const top = S.grid.scrollTop - AROUND, bottom = S.grid.scrollTop + S.grid.clientHeight + AROUND;
    const wanted = new Set();
    const variants = M.visible(S);
    let low = 0, high = S.rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (S.rows[middle].top + ROW < top) low = middle + 1;
      else high = middle;
    }
    const nodes = [];
    for (let at = low; at < S.rows.length && S.rows[at].top < bottom; at++) {
      const row = S.rows[at];
      wanted.add(row.key);
      if (!S.drawn.has(row.key)) {
        const node = row.probe ? drawRow(S, row, variants, at) : drawTitle(S, row);
        node.style.top = `${row.top}px`;
        S.drawn.set(row.key, node);
        nodes.push(node);
      }
    }
    for (const [key, node] of S.drawn) {
      if (!wanted.has(key)) {
        if (node.contains(document.activeElement)) S.grid.focus({ preventScroll: true });
        node.remove();
        S.drawn.delete(key);
      }
    }
    S.canvas.append(...nodes);
  };

  const drawTitle = (S, row) =>
    M.el("div", { class: "pb-row pb-row-title", role: "row" },
      M.el("span", { class: "pb-row-name" }, `${S.t(`pb_group_${row.group}`)} · ${S.words[`pb_cat_${row.category}`] ?? row.category}`, M.el("b", { text: row.number })));

  const drawRow = (S, row, variants, at) => {
    const { el } = M, probe = row.probe;
    const twin = S.twins.get(`${probe.pair}|${probe.lang === "en" ? "zh" : "en"}`);
    const question = probe.turns[probe.turns.length - 1];
    const node = el("div", { class: "pb-row", role: "row", "aria-rowindex": at + 2, data: { probe: probe.id } },
      el("div", { class: "pb-q", role: "rowheader" },
        el("div", { class: "pb-q-text", dir: "auto", title: probe.turns.join("\n\n"), text: question }),
        el("div", { class: "pb-q-facts" },
          el("span", { class: "pb-lang", title: S.t(`pb_lang_${probe.lang}`), text: LANGS[probe.lang] ?? probe.lang }), el("span", { class: "pb-id", text: probe.id }),
          probe.turns.length > 1 ? el("span", { title: probe.turns.join("\n\n"), text: S.t("pb_turns", { number: probe.turns.length }) }) : null,
          probe.held_out ? el("span", { title: S.t("pb_held_out_title"), text: S.t("pb_held_out") }) : null,
          twin ? el("button", { type: "button", class: "pb-link", text: S.t("pb_twin"), title: S.t("pb_twin_title", { id: twin.id }), onclick: () => M.goTo(S, twin.id) }) : null)),
      variants.map((variant, place) => drawCell(S, probe, variant, place)));
    return node;
  };

  M.chip = (S, word, unsure, said = "pb_suggested") =>
    M.el("span", { class: `pb-suggested pb-w${word}` }, dot(S, word),
      S.t(said, { word: S.suggestion(word) }), unsure ? M.el("em", { text: S.t("pb_unsure") }) : null);
  M.marginBar = (S, margin) => {
    const half = Math.min(50, (50 * Math.abs(margin)) / S.mostMargin);
    const bar = M.el("i", { class: margin < 0 ? "pb-bar-old" : "pb-bar-new", style: margin < 0 ? `right:50%;width:${half}%` : `left:50%;width:${half}%` });
    const side = margin < 0 ? S.t("pb_word_old") : S.t("pb_word_new");
    const number = `${margin > 0 ? "+" : margin < 0 ? "−" : ""}${Math.abs(margin).toFixed(2)}`;
    return M.el("span", { class: "pb-margin", title: S.t("pb_margin_title", { number, side }) }, M.el("span", { class: "pb-bar", "aria-hidden": "true" }, bar),
      M.el("span", { class: "pb-margin-number", text: `${number} ${side}` }));
  };

  const drawCell = (S, probe, variant, place) => {
    const { el } = M, cells = S.cells.get(`${probe.id}|${variant}`), cell = cells?.[0], column = S.columns[variant];
    const show = S.filter.show;
    const dimmed = !["all", "different", "judged"].includes(show) && !cellIs(S, show, probe.id, variant);
    const starred = M.isStarred(S, probe.id, variant);
    const classes = ["pb-cell", cell?.word >= 0 ? `pb-w${cell.word}` : "", dimmed ? "pb-dim" : "", S.view.pinned.has(column.name) ? "pb-stuck" : ""];
    const here = S.at && S.at.probe === probe.id && S.at.variant === variant;
    const first = !S.at && place === 0 && S.shownProbes[0] === probe;
    const node = el("div", {
      class: classes.filter(Boolean).join(" "), role: "gridcell", tabindex: here || first ? "0" : "-1", data: { variant, name: column.name },
      onclick: (event) => {
        if (event.target.closest("button") || String(getSelection())) return;
        S.at = { probe: probe.id, variant };
        if (cell) M.enlarge(S, probe.id, variant);
      },
      onfocus: () => { S.at = { probe: probe.id, variant }; },
    });
    if (S.left(place) !== null) node.style.left = S.left(place);
    if (!cell) {
      node.append(el("span", { class: "pb-waiting", text: S.state?.here ? S.t("pb_not_yet") : S.t("pb_not_asked_yet") }));
      return node;
    }
    const changed = S.other && M.changed(S, cell);
    node.append(
      cell.problem
        ? el("div", { class: "pb-text pb-problem", text: S.t("pb_problem", { problem: cell.problem }) })
        : el("div", { class: `pb-text${cell.text ? "" : " mt-empty"}`, dir: "auto", text: cell.text || S.t("pb_empty_answer") }),
      el("div", { class: "pb-line" },
        cell.check === true ? el("span", { class: "pb-right", text: `✓ ${S.t("pb_right")}` }) : cell.check === false ? el("span", { class: "pb-wrong", text: `✗ ${S.t("pb_wrong")}` }) : null,
        cell.word >= 0 && !(probe.check && S.wordOrder[cell.word] === "clean") ? M.chip(S, cell.word, cell.unsure) : null,
        cells.length > 1 ? el("span", { class: "pb-dots", title: S.t("pb_dots_title") }, cells.map((one) => dot(S, one.word, one.problem || (one.word >= 0 ? S.suggestion(one.word) : "")))) : null,
        cell.finish === "length" ? el("span", { class: "mt-cut", text: S.t("pb_cut") }) : null,
        changed ? el("span", { class: "pb-changed", text: S.t("pb_changed") }) : null),
      ...(cell.margin === null ? [] : [M.marginBar(S, cell.margin)]),
      el("button", {
        type: "button", class: "pb-star", tabindex: "-1", "aria-pressed": String(starred), "aria-label": S.t("pb_star"), title: S.t("pb_star"), text: starred ? "★" : "☆",
        onclick: () => M.toggleStar(S, probe.id, variant),
      }),
    );
    return node;
  };

  M.reveal = (S, probe) => {
    const row = S.rows.find((one) => one.key === probe);
    if (!row) return false;
    const head = S.columnHead.offsetHeight;
    if (row.top < S.grid.scrollTop) S.grid.scrollTop = row.top - HEAD;
    else if (row.top + ROW + head > S.grid.scrollTop + S.grid.clientHeight) S.grid.scrollTop = row.top + ROW + head - S.grid.clientHeight;
    windowed(S);
    return true;
  };
  M.goTo = (S, probe) => {
    if (!S.rows.some((row) => row.key === probe)) {
      S.filter = { group: "", category: "", lang: "", text: "", show: "all" };
      for (const field of S.root.querySelectorAll("#pb-search, #pb-group, #pb-category, #pb-language")) field.value = "";
      M.fill(S);
    }
    if (!M.reveal(S, probe)) return;
    const node = S.drawn.get(probe);
    node.classList.add("pb-flash");
    setTimeout(() => node.classList.remove("pb-flash"), 1600);
    node.querySelector(".pb-cell")?.focus({ preventScroll: true });
  };
  // The neighbouring cell that is shown, or null at the edge.
  M.neighbour = (S, at, down, right) => {
    const variants = M.visible(S), row = S.shownProbes.findIndex((probe) => probe.id === at.probe) + down;
    const column = variants.indexOf(at.variant) + right;
    return S.shownProbes[row] && variants[column] !== undefined ? { probe: S.shownProbes[row].id, variant: variants[column] } : null;
  };
  M.steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  M.focusOn = (S, at) => {
    S.canvas.querySelector('.pb-cell[tabindex="0"]')?.setAttribute("tabindex", "-1");
    S.at = at;
    M.reveal(S, at.probe);
    const node = S.drawn.get(at.probe)?.querySelector(`.pb-cell[data-variant="${at.variant}"]`);
    node?.setAttribute("tabindex", "0");
    node?.focus({ preventScroll: true });
    node?.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  const keys = (S, event) => {
    const cell = event.target.closest?.(".pb-cell");
    if (!cell || event.target.closest("button") || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = { probe: cell.parentElement.dataset.probe, variant: Number(cell.dataset.variant) };
    if (M.steps[event.key]) {
      const next = M.neighbour(S, at, ...M.steps[event.key]);
      if (next) M.focusOn(S, next);
    } else if (event.key === "Enter" || event.key === " ") {
      if (M.headline(S, at.probe, at.variant)) M.enlarge(S, at.probe, at.variant);
    } else if (event.key === "s") {
      M.toggleStar(S, at.probe, at.variant);
      M.focusOn(S, at);
    } else return;
    event.preventDefault();
  };
})();
