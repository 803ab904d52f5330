// How the desk of the Label tab looks. Texts of models are only ever put in as text, never as markup.
(() => {
  const RECENT = 10;

  const el = (kind, about = {}, ...children) => {
    const made = document.createElement(kind);
    for (const [name, value] of Object.entries(about)) {
      if (value === undefined || value === null || value === false) continue;
      if (name === "onclick") made.addEventListener("click", value);
      else if (name === "class") made.className = value;
      else made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return made;
  };

  // desk: what label.js keeps of one desk; the functions returned draw it, part by part.
  window.mirrorDrawDesk = (desk) => {
    const parts = {
      top: el("div", { class: "lb-top" }), notes: el("div", { class: "lb-notes", "aria-live": "polite" }),
      card: el("div", { class: "lb-main" }), recent: el("aside", { class: "lb-recent" }), help: el("div", { class: "lb-help", hidden: true }),
    };
    const whole = [parts.top, parts.notes, el("div", { class: "lb-body" }, parts.card, parts.recent), parts.help];
    const fill = () => desk.root.replaceChildren(...whole);
    fill();

    const key = (name) => el("kbd", {}, name);
    const button = (name, text, onclick, more = {}) => {
      const made = el("button", { type: "button", onclick, ...more }, key(name), el("span", {}, text));
      made.addEventListener("mousedown", (event) => event.preventDefault()); // the keys go on working after a click
      return made;
    };

    const duration = (seconds) => {
      if (seconds < 50) return desk.say("about_seconds", { n: Math.max(5, 5 * Math.round(seconds / 5)) });
      const minutes = Math.round(seconds / 60);
      if (minutes < 2) return desk.say("about_minute");
      return minutes < 90 ? desk.say("about_minutes", { n: minutes }) : desk.say("about_hours", { n: (minutes / 60).toFixed(1) });
    };

    const paintTop = () => {
      if (!desk.about || !desk.progress) return;
      const { waiting, held, trouble } = window.mirrorOutbox.state();
      // What is on its way counts already, as it does for whoever pressed the key.
      const mine = desk.progress.mine + desk.owed("mine"), left = Math.max(0, desk.progress.left - desk.owed("left"));
      const rest = desk.progress.seconds === null ? desk.say("left", { n: left }) : `${desk.say("left", { n: left })}, ${duration(desk.progress.seconds * left)}`;
      const team = Object.entries(desk.progress.people).slice(0, 6).map(([name, n]) => `${name} ${n}`).join(" · ");
      const saved = waiting
        ? el("span", { class: trouble ? "lb-unsaved lb-trouble" : "lb-unsaved", role: "status" },
          trouble ? desk.say(trouble === "login" ? "unsaved_login" : "unsaved_lost", { n: waiting }) : desk.say("saving", { n: waiting }))
        : el("span", { class: "lb-saved", role: "status" }, desk.say(held ? "held" : "all_saved", { n: held }));
      const bar = el("div", { class: "lb-bar", "aria-hidden": "true" }, el("i", { style: `width:${(100 * mine) / Math.max(1, mine + left)}%` }));
      parts.top.replaceChildren(
        el("div", { class: "lb-progress" },
          el("span", {}, el("strong", {}, desk.say("mine", { n: mine, of: mine + left }))),
          left ? el("span", {}, rest) : null,
          desk.progress.seconds === null ? null : el("span", {}, desk.say("pace", { n: desk.progress.seconds.toFixed(1) })),
          el("span", { title: team }, desk.say("team", { n: desk.progress.full, of: desk.progress.total })),
          desk.progress.skipped ? el("span", {}, desk.say("skipped_count", { n: desk.progress.skipped })) : null,
          saved),
        bar);
    };

    const paintNotes = () => {
      parts.notes.replaceChildren(...desk.notes.slice(-3).map((text) =>
        el("p", { class: "lb-note" }, text, el("button", { type: "button", onclick: () => {
          desk.notes = desk.notes.filter((one) => one !== text);
          paintNotes();
        } }, desk.say("dismiss")))));
    };

    const textOf = (turn) => el("div", { class: turn.role === "user" ? "lb-turn lb-asked" : "lb-turn" }, el("b", {}, desk.say(turn.role === "user" ? "asked" : "answered")), el("p", {}, turn.text));

    const sideOf = (card, at) => {
      const side = card.sides[at];
      const name = desk.pairs() ? el("h4", {}, "AB"[at], card.variants ? el("small", {}, card.variants[at]) : null) : null;
      const text = side.shown.trim() ? side.shown : desk.say(side.unfinished ? "unfinished" : "empty");
      const thoughts = side.thoughts ? el("details", { class: "mt-fold lb-thought" }, el("summary", {}, desk.say("thought")), el("pre", { dir: "auto" }, side.thoughts)) : null;
      return el("div", { class: "lb-side" }, name,
        side.before.length && (desk.pairs() || at === 0) ? el("div", { class: "lb-before" }, side.before.map(textOf)) : null,
        thoughts,
        el("div", { class: side.shown.trim() ? "lb-answer" : "lb-answer lb-nothing", lang: card.lang }, text));
    };

    const hidden = (card) => {
      const facts = [];
      if (card.variants && !desk.pairs()) facts.push([desk.say("variant"), card.variants[0]]);
      if (card.suggestion) facts.push([desk.say("suggested"), `${desk.word(card.suggestion.label)}${card.suggestion.sure ? "" : ` (${desk.say("unsure")})`}`]);
      if (card.others && card.others.length) {
        const counts = {};
        for (const other of card.others) {
          const name = other.annotator ? `${other.annotator}: ${desk.word(other.label)}` : desk.word(other.label);
          counts[name] = (counts[name] || 0) + 1;
        }
        facts.push([desk.say(desk.about.kind === "settle" ? "they_said" : "others"), Object.entries(counts).map(([name, n]) => (n > 1 ? `${name} × ${n}` : name)).join(" · ")]);
      }
      return facts.length ? el("dl", { class: "lb-open" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))) : null;
    };

    const paintMarks = () => {
      const box = parts.card.querySelector(".lb-marks");
      if (!box || desk.pairs()) return;
      box.replaceChildren(
        ...Object.entries(desk.tagKeys).map(([name, aspect]) =>
          button(name, `${desk.say(`aspect_${aspect}`)}: ${desk.draft.tags[aspect] ? desk.words[`tag_${desk.draft.tags[aspect].replaceAll(" ", "_")}`] : "–"}`,
            (event) => desk.cycle(aspect, event.shiftKey), { class: desk.draft.tags[aspect] ? "lb-set" : "", "data-key": name })),
        button("f", desk.say(desk.draft.flag ? "flagged" : "flag"), desk.flag, { class: desk.draft.flag ? "lb-set" : "", "data-key": "f", "aria-pressed": String(desk.draft.flag) }),
        button("c", desk.say(desk.draft.comment ? "commented" : "comment"), desk.comment, { class: desk.draft.comment ? "lb-set" : "", "data-key": "c" }));
    };

    const commentBox = () => {
      const area = el("textarea", { rows: 2, placeholder: desk.say("comment_hint"), "aria-label": desk.say("comment") });
      area.value = desk.draft.comment;
      const keep = () => {
        desk.draft.comment = area.value.trim();
        paintMarks();
      };
      area.addEventListener("input", keep);
      area.addEventListener("keydown", (event) => {
        if (event.isComposing || event.keyCode === 229) return;
        if ((event.key === "Enter" && !event.shiftKey) || event.key === "Escape") {
          event.preventDefault();
          event.stopPropagation();
          keep();
          area.blur();
          area.parentElement.hidden = !desk.draft.comment;
        }
      });
      return el("div", { class: "lb-comment", hidden: !desk.draft.comment }, area);
    };

    const paintCard = () => {
      const card = desk.current();
      if (desk.problem) return parts.card.replaceChildren(el("p", { class: "lb-end" }, desk.problem));
      if (!desk.about) return parts.card.replaceChildren(el("p", { class: "lb-end" }, desk.say("loading")));
      if (!card) return parts.card.replaceChildren(...ending());
      const made = desk.choices(card).map((label, at) =>
        button(String(at + 1), desk.word(label), () => desk.decide(label),
          { class: desk.was === label ? "lb-choice lb-was" : "lb-choice", "data-key": String(at + 1), title: desk.words[`means_${label.replaceAll(" ", "_")}`] }));
      made.forEach((one, at) => {
        const means = desk.words[`means_${desk.choices(card)[at].replaceAll(" ", "_")}`];
        if (means) one.append(el("small", {}, means));
        if (desk.was === desk.choices(card)[at]) one.append(el("em", {}, desk.say("was")));
      });
      const kind = desk.say(desk.pairs() ? "kind_pair" : card.control ? "kind_control" : "kind_identity");
      const who = card.old || card.new ? el("span", { class: "lb-who" }, desk.say("who", { old: card.old || "–", new: card.new || "–" })) : null;
      parts.card.replaceChildren(
        desk.editing ? el("p", { class: "lb-editing" }, desk.say("editing"), " ", button("Esc", desk.say("leave_it"), desk.cancel, { class: "lb-plain", "data-key": "Escape" })) : "",
        el("article", { class: desk.pairs() ? "lb-card lb-pair" : "lb-card", "data-item": card.item },
          el("p", { class: "lb-kind" }, el("span", {}, kind), desk.about.mask && desk.about.blind && !desk.about.revealed ? el("span", {}, desk.say("masked")) : null, who),
          el("p", { class: "lb-question", lang: card.lang }, card.question),
          el("div", { class: "lb-sides" }, card.sides.map((_, at) => sideOf(card, at)))),
        hidden(card) || "",
        el("div", { class: "lb-choices" }, made),
        el("div", { class: "lb-marks" }),
        desk.pairs() ? "" : commentBox(),
        el("div", { class: "lb-moves" },
          button(desk.say("key_space"), desk.say(desk.editing ? "leave_it" : "skip"), desk.skip, { class: "lb-plain", "data-key": "Space" }),
          button(desk.say("key_backspace"), desk.say("undo"), desk.undo, { class: "lb-plain", "data-key": "Backspace", disabled: !desk.done.length && !desk.editing }),
          button("?", desk.say("help"), () => desk.showHelp(true), { class: "lb-plain", "data-key": "?" })));
      paintMarks();
    };

    const ending = () => {
      if (!desk.dry) return [el("p", { class: "lb-end" }, desk.say("loading"))];
      const skipped = desk.progress ? desk.progress.skipped : 0;
      const back = button(desk.say("key_backspace"), desk.say("undo"), desk.undo, { class: "lb-plain", "data-key": "Backspace" });
      return [
        el("div", { class: "lb-end" },
          el("h3", {}, desk.say(desk.progress && desk.progress.full >= desk.progress.total ? "end_all" : "end_mine")),
          el("p", {}, desk.say(desk.about.kind === "settle" ? "end_settle" : "end_next")),
          el("div", { class: "lb-moves" },
            skipped ? el("button", { type: "button", class: "lb-plain lb-again", onclick: desk.skippedAgain }, desk.say("skipped_again", { n: skipped })) : null,
            desk.done.length ? back : null)),
      ];
    };

    const paintRecent = () => {
      if (!desk.about) return;
      const marks = { waiting: desk.say("not_saved"), refused: desk.say("refused"), elsewhere: desk.say("not_saved") };
      const line = (entry) => {
        const said = entry.said.label || entry.said.choice;
        const made = el("button", {
          type: "button", class: entry === desk.editing ? "lb-entry lb-now" : "lb-entry", onclick: () => desk.edit(entry), title: desk.say("relabel"),
        }, el("b", {}, said ? desk.word(said) : desk.say("skipped")),
          entry.said.flag ? el("i", {}, desk.say("flagged")) : null,
          marks[entry.state] ? el("i", { class: "lb-unsaved" }, marks[entry.state]) : null,
          el("span", { lang: entry.card.lang }, entry.card.question),
          desk.pairs() ? null : el("span", { class: "lb-said", lang: entry.card.lang }, entry.card.sides[0].shown));
        made.addEventListener("mousedown", (event) => event.preventDefault());
        return el("li", {}, made);
      };
      parts.recent.replaceChildren(
        el("h3", {}, desk.say("recent")),
        desk.done.length ? el("ol", {}, desk.done.slice(0, RECENT).map(line)) : el("p", {}, desk.say("recent_none")));
    };

    const paintHelp = () => {
      parts.help.hidden = !desk.help;
      if (!desk.help || !desk.about) return;
      const card = desk.current();
      const rows = [
        ...desk.choices(card || { control: false }).map((label, at) => [desk.pairs() ? `${at + 1} ${"←→↑↓"[at]}` : String(at + 1), desk.word(label), desk.words[`means_${label.replaceAll(" ", "_")}`] || ""]),
        ...(desk.pairs() ? [] : [["n m r", desk.say("help_tags"), desk.say("help_tags_more")], ["f", desk.say("flag"), desk.say("help_flag")], ["c", desk.say("comment"), desk.say("help_comment")]]),
        [desk.say("key_space"), desk.say("skip"), desk.say("help_skip")], [desk.say("key_backspace"), desk.say("undo"), desk.say("help_undo")],
        ["Esc", desk.say("leave_it"), desk.say("help_escape")], ["?", desk.say("help"), ""],
      ];
      parts.help.replaceChildren(el("div", { class: "lb-sheet", role: "dialog", "aria-label": desk.say("help") },
        el("h3", {}, desk.say("help_title")),
        el("table", {}, rows.map(([name, what, more]) => el("tr", {}, el("th", {}, key(name)), el("td", {}, what), el("td", { class: "lb-means" }, more)))),
        el("p", {}, desk.say("help_silent")),
        el("button", { type: "button", onclick: () => desk.showHelp(false) }, desk.say("close"))));
    };

    const paint = () => {
      paintCard();
      paintTop();
      paintNotes();
      paintRecent();
      if (desk.help) paintHelp();
    };

    return { fill, paint, paintTop, paintNotes, paintMarks, paintRecent, paintHelp };
  };
})();
