// What leaves the matrix: exports and queues of what is shown; and the comparison with an earlier run.
window.mirrorProbes = window.mirrorProbes || {};
(() => {
  const M = window.mirrorProbes;

  M.compare = async (S, run) => {
    S.other = null;
    if (run) {
      const told = await S.call("pb_compare", { run: S.run.id, other: Number(run) });
      S.other = { run: Number(run), cells: new Map(told.cells.map(([probe, name, text, word]) => [`${probe}|${name}`, { text, word }])) };
      const both = [...S.cells.values()].filter(([cell]) => S.other.cells.has(M.starKey(S, cell.probe, cell.variant)));
      const changed = both.filter(([cell]) => M.changed(S, cell)).length;
      S.say(both.length ? S.t("pb_compared", { id: run, both: both.length, changed }) : S.t("pb_nothing_shared", { id: run }));
      S.filter.show = changed ? "changed" : "all";
    } else S.say("");
    M.fill(S);
  };

  // What leaves the page is what the filters and the columns show.
  const shownKeys = (S) => S.shownProbes.flatMap((probe) => M.visible(S).map((variant) => [probe.id, variant]));
  M.save = async (S, kind) => {
    const told = await S.call("pb_export", { run: S.run.id, kind, keys: shownKeys(S) });
    const types = { csv: "text/csv", jsonl: "application/x-ndjson", md: "text/markdown" };
    const address = URL.createObjectURL(new Blob([told.text], { type: `${types[kind]};charset=utf-8` }));
    M.el("a", { href: address, download: told.name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
    S.say(S.t("pb_exported", { name: told.name }));
  };

  M.sending = (S) => {
    const { el } = M, box = S.sendBox, button = S.root.querySelector("#pb-send");
    box.hidden = !box.hidden;
    button.setAttribute("aria-expanded", String(!box.hidden));
    if (box.hidden) return;
    const name = el("input", { id: "pb-queue-name", value: S.t("pb_queue_name", { id: S.run.id, name: S.run.name || S.run.set_name }) });
    const overlap = el("input", { id: "pb-queue-people", type: "number", min: 1, max: 20, value: 1 });
    const blind = el("input", { id: "pb-queue-blind", type: "checkbox", checked: true });
    const samples = el("input", { id: "pb-queue-samples", type: "checkbox", checked: true });
    const make = el("button", {
      type: "button", class: "pb-button pb-first", id: "pb-queue-make", text: S.t("pb_make_queue"),
      onclick: async () => {
        make.disabled = true;
        const told = await S.attempt(() => S.call("pb_send", {
          run: S.run.id, keys: shownKeys(S), name: name.value, overlap: Number(overlap.value), blind: blind.checked, samples: samples.checked,
        }));
        make.disabled = false;
        if (!told) return;
        S.say(told.said);
        M.sending(S);
      },
    });
    box.replaceChildren(
      el("p", { class: "mt-quiet", text: S.t("pb_send_words", { rows: S.shownProbes.length, variants: M.visible(S).length }) }),
      el("div", { class: "pb-tools" }, el("label", { class: "pb-pick" }, S.t("pb_queue_called"), name), el("label", { class: "pb-pick" }, S.t("pb_people"), overlap),
        el("label", { class: "pb-tick" }, blind, S.t("pb_blind")), S.run.samples > 1 ? el("label", { class: "pb-tick" }, samples, S.t("pb_all_samples")) : null, make),
    );
    name.focus();
  };
})();
