// One cell enlarged: the whole answer, what its suggestion rests on, how it was asked, its samples, and its history.
window.mirrorProbes = window.mirrorProbes || {};
(() => {
  const M = window.mirrorProbes;

  M.enlarge = (S, probe, variant) => {
    if (!S.dialog?.isConnected) {
      S.dialog = M.el("dialog", { class: "pb-dialog", id: "pb-dialog", "aria-labelledby": "pb-dialog-title" });
      S.dialog.addEventListener("click", (event) => { if (event.target === S.dialog) S.dialog.close(); });
      S.dialog.addEventListener("close", () => M.focusOn(S, S.open_));
      S.dialog.addEventListener("keydown", (event) => keys(S, event));
      S.root.append(S.dialog);
    }
    S.open_ = { probe, variant };
    draw(S, null);
    if (!S.dialog.open) S.dialog.showModal();
    S.dialog.scrollTop = 0;
    const turn = (S.cellTurn = (S.cellTurn || 0) + 1);
    S.call("pb_cell", { run: S.run.id, probe, variant, other: S.other?.run ?? null }).then(
      (told) => { if (turn === S.cellTurn) draw(S, told); },
      (error) => { if (turn === S.cellTurn) draw(S, null, error.message); },
    );
  };

  const keys = (S, event) => {
    if (event.key === "Escape") return; // the dialog closes by itself
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    if (M.steps[event.key]) go(S, ...M.steps[event.key]);
    else if (event.key === "s") {
      M.toggleStar(S, S.open_.probe, S.open_.variant);
      const button = S.dialog.querySelector(".pb-star");
      button.textContent = M.isStarred(S, S.open_.probe, S.open_.variant) ? "★" : "☆";
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const go = (S, down, right) => {
    let at = S.open_;
    do at = M.neighbour(S, at, down, right);
    while (at && !M.headline(S, at.probe, at.variant)); // over what is not answered yet
    if (at) M.enlarge(S, at.probe, at.variant);
  };

  const draw = (S, told, problem = "") => {
    const { el } = M, { probe, variant } = S.open_, asked = S.byId.get(probe), column = S.columns[variant];
    const cell = M.headline(S, probe, variant);
    const first = told?.samples[0];
    const twin = S.twins.get(`${asked.pair}|${asked.lang === "en" ? "zh" : "en"}`);
    const step = (text, key, down, right) =>
      el("button", { type: "button", class: "pb-tiny", text, title: S.t(key), "aria-label": S.t(key), disabled: !M.neighbour(S, S.open_, down, right), onclick: () => go(S, down, right) });
    const starred = M.isStarred(S, probe, variant);
    const old = S.dialog.querySelector("details[open]")?.dataset.fold;
    S.dialog.replaceChildren(
      el("header", { class: "pb-dialog-head" },
        el("div", {}, el("h2", { id: "pb-dialog-title", text: column.name }),
          el("p", { class: "mt-quiet", text: [column.how, asked.id, S.t(`pb_group_${asked.group}`), S.words[`pb_cat_${asked.category}`] ?? asked.category, S.t(`pb_lang_${asked.lang}`)].filter(Boolean).join(" · ") })),
        el("div", { class: "pb-dialog-tools" },
          step("←", "pb_go_left", 0, -1), step("→", "pb_go_right", 0, 1), step("↑", "pb_go_up", -1, 0), step("↓", "pb_go_down", 1, 0),
          twin && M.headline(S, twin.id, variant) ? el("button", { type: "button", class: "pb-tiny", text: S.t("pb_twin"), title: S.t("pb_twin_title", { id: twin.id }), onclick: () => M.enlarge(S, twin.id, variant) }) : null,
          el("button", { type: "button", class: "pb-tiny pb-star", "aria-pressed": String(starred), title: S.t("pb_star"), "aria-label": S.t("pb_star"), text: starred ? "★" : "☆",
            onclick: (event) => { M.toggleStar(S, probe, variant); event.target.textContent = M.isStarred(S, probe, variant) ? "★" : "☆"; } }),
          el("button", { type: "button", class: "pb-tiny", id: "pb-close", text: "×", title: S.t("pb_close"), "aria-label": S.t("pb_close"), onclick: () => S.dialog.close() }))),
      ...conversation(S, asked, first, cell),
      ...(problem ? [el("p", { class: "mt-failed", role: "alert", text: problem })] : []),
      ...(first ? details(S, told, first, asked, old) : problem ? [] : [el("p", { class: "mt-quiet", text: S.t("pb_reading") })]),
    );
    S.dialog.querySelector("#pb-close").focus({ preventScroll: true });
  };

  const conversation = (S, asked, first, cell) => {
    const { el } = M, turns = [];
    for (const before of first?.before ?? []) turns.push(el("div", { class: "mt-q", dir: "auto", text: before.question }), el("div", { class: "mt-a pb-before", dir: "auto", text: before.answer ?? "" }));
    turns.push(el("div", { class: "mt-q", dir: "auto", text: first?.question ?? asked.turns[asked.turns.length - 1] }));
    if (first?.thoughts) turns.push(el("details", { class: "mt-fold mt-fold-thought", id: "pb-thought" }, el("summary", { text: S.t("pb_thought") }), el("pre", { dir: "auto", text: first.thoughts })));
    if (first?.unfinished) turns.push(el("p", { class: "mt-quiet", text: S.t("pb_unfinished") }));
    if (cell.problem) turns.push(el("p", { class: "mt-failed", text: S.t("pb_problem", { problem: cell.problem }) }));
    else turns.push(el("div", { class: `mt-a${cell.text ? "" : " mt-empty"}`, id: "pb-answer", dir: "auto", text: cell.text || S.t("pb_empty_answer") }));
    const other = S.other?.cells.get(`${cell.probe}|${S.columns[cell.variant].name}`);
    if (other) {
      turns.push(el("div", { class: "pb-earlier" }, el("h3", { text: S.t(other.text === cell.text ? "pb_same_before" : "pb_before", { id: S.other.run }) }),
        other.text === cell.text ? null : el("div", { class: "mt-a", dir: "auto", text: other.text || S.t("pb_empty_answer") }),
        other.word >= 0 ? M.chip(S, other.word, false) : null));
    }
    return turns;
  };

  const details = (S, told, first, asked, old) => {
    const { el } = M;
    const at = S.wordOrder.indexOf(first.suggestion);
    const part = (title, ...kids) => el("section", { class: "pb-part" }, el("h3", { text: title }), kids);
    const fold = (name, title, ...kids) => el("details", { class: "mt-fold pb-part", data: { fold: name }, open: old === name }, el("summary", { text: title }), kids);
    const found = [];
    if (asked.check && first.check !== null) found.push(el("p", { class: first.check ? "pb-right" : "pb-wrong", text: first.check ? `✓ ${S.t("pb_right")}` : `✗ ${S.t("pb_wrong")}` }));
    if (at >= 0) {
      const tags = Object.entries(first.tags).map(([aspect, tag]) => el("span", { text: `${S.t(`pb_tag_${aspect}`)}: ${S.words[`pb_tag_is_${String(tag).replace(/ /g, "_")}`] ?? tag}` }));
      found.push(part(S.t("pb_why"), el("div", { class: "pb-line" }, M.chip(S, at, !first.sure)), el("div", { class: "mt-facts" }, tags),
        el("pre", { class: "mt-exact", id: "pb-raw", dir: "auto" }, first.marked.map(([text, what]) => (what ? el("mark", { title: what, text }) : text))),
        first.marked.some(([, what]) => what) ? el("ul", { class: "pb-spans" }, first.marked.filter(([, what]) => what).map(([text, what]) => el("li", {}, el("q", { text }), " ", what))) : el("p", { class: "mt-quiet", text: S.t("pb_no_spans") }),
        el("p", { class: "mt-quiet", text: S.t("pb_only_suggested") })));
      found.push(...opinions(S, told));
    } else if (first.raw !== null) found.push(part(S.t("raw"), el("pre", { class: "mt-exact", id: "pb-raw", dir: "auto", text: first.raw })));
    if (first.margin !== null) {
      found.push(part(S.t("pb_margin_head"), M.marginBar(S, first.margin), el("p", { class: "mt-quiet", text: S.t("pb_margin_words", { old: first.margin_old.toFixed(2), new: first.margin_new.toFixed(2) }) })));
    }
    const facts = [
      first.finish === "length" ? S.t("pb_cut_at", { tokens: first.tokens }) : first.finish === "stop" ? S.t("finish_stop") : first.finish,
      S.t("pb_tokens", { prompt: first.prompt_tokens, answer: first.tokens }), first.seconds === null ? null : S.t("pb_seconds", { seconds: first.seconds }),
      first.temperature ? S.t("pb_sampled", { temperature: first.temperature, seed: first.seed }) : S.t("greedy"), first.format,
      first.reused ? S.t("pb_from_store") : null, first.dropped ? S.t("pb_dropped", { number: first.dropped }) : null,
      first.created ? new Date(first.created).toLocaleString() : null, first.answer_id ? S.t("pb_answer_id", { id: first.answer_id }) : null,
    ].filter(Boolean);
    if (first.prompt !== null) found.push(el("div", { class: "mt-facts" }, facts.map((text) => el("span", { text }))));
    if (told.samples.length > 1) {
      found.push(part(S.t("pb_samples_head"), el("ol", { class: "pb-list", id: "pb-sample-list" }, told.samples.map((one) => listed(S, one.answer ?? one.problem, one.suggestion,
        one.temperature ? S.t("pb_sampled", { temperature: one.temperature, seed: one.seed }) : S.t("greedy"))))));
    }
    if (first.prompt !== null) {
      found.push(fold("prompt", S.t("prompt"), el("pre", { class: "mt-exact", id: "pb-prompt", text: first.prompt })));
      found.push(fold("hashes", S.t("pb_hashes"), el("pre", { class: "mt-exact", text: JSON.stringify(first.hashes, null, 1) })));
    }
    found.push(told.history.length
      ? part(S.t("pb_history"), el("ol", { class: "pb-list", id: "pb-history" }, told.history.map((one) => listed(S, one.answer, one.suggestion,
          `${S.t("pb_run_title", { id: one.run, name: one.run_name || one.set_name })} · ${one.variant} · ${new Date(one.created).toLocaleString()}${one.question === first.question ? "" : ` · ${one.question}`}`))))
      : el("p", { class: "mt-quiet", text: S.t("pb_no_history") }));
    return found;
  };

  // What a judge model says of it, where the app was started with one; prompt and reply are shown as they were.
  const opinions = (S, told) => {
    const { el } = M;
    if (!told.judge && !told.opinions.length) return [];
    const ask = (event) => {
      const button = event.target, { probe, variant } = S.open_;
      button.disabled = true;
      button.textContent = S.t("pb_judge_asking");
      const here = () => S.open_?.probe === probe && S.open_.variant === variant && S.dialog.open;
      S.call("pb_opinion", { run: S.run.id, probe, variant }).then(
        (found) => { if (here()) draw(S, { ...told, opinions: found.opinions }); },
        (error) => { if (here()) draw(S, told, error.message); },
      );
    };
    const one = (said) => {
      const at = S.wordOrder.indexOf(said.opinion);
      return el("li", {},
        el("div", { class: "pb-line" }, at >= 0 ? M.chip(S, at, false, "pb_opinion_said") : el("span", { text: S.t("pb_unclear") }),
          el("span", { class: "mt-quiet", text: `${said.judge} · ${new Date(said.created).toLocaleString()}` })),
        el("details", { class: "mt-fold" }, el("summary", { text: S.t("pb_judge_exact") }),
          el("pre", { class: "mt-exact", text: said.prompt }), el("pre", { class: "mt-exact", dir: "auto", text: said.reply || S.t("pb_empty_answer") })));
    };
    return [el("section", { class: "pb-part", id: "pb-opinions" }, el("h3", { text: S.t("pb_opinion_head") }),
      told.opinions.length ? el("ol", { class: "pb-list" }, told.opinions.map(one)) : null,
      told.judge ? el("button", { type: "button", class: "pb-button", id: "pb-ask-judge", text: S.t("pb_judge_ask", { judge: told.judge }), onclick: ask }) : null,
      el("p", { class: "mt-quiet", text: S.t("pb_opinion_only") }))];
  };

  const listed = (S, text, suggestion, facts) => {
    const at = S.wordOrder.indexOf(suggestion);
    return M.el("li", {}, M.el("div", { class: "mt-a", dir: "auto", text: text || S.t("pb_empty_answer") }), M.el("div", { class: "pb-line" }, at >= 0 ? M.chip(S, at, false) : null, M.el("span", { class: "mt-quiet", text: facts })));
  };
})();
