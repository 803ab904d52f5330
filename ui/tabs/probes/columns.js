// The heads of the matrix's columns: moved, pinned and hidden here, and remembered by the browser.
window.mirrorProbes = window.mirrorProbes || {};
(() => {
  const M = window.mirrorProbes;

  M.columnHeads = (S, variants) => {
    const { el } = M;
    const button = (text, title, act, more = {}) =>
      el("button", { type: "button", class: "pb-tiny", title, "aria-label": title, text, onclick: act, ...more });
    const changedView = () => {
      M.kept.write(S, "columns", { order: S.view.order, hidden: [...S.view.hidden], pinned: [...S.view.pinned] });
      M.fill(S);
    };
    const move = (name, by) => {
      const shown = variants.map((variant) => S.columns[variant].name);
      const beside = shown[shown.indexOf(name) + by];
      if (!beside) return;
      const order = shown.slice();
      order.splice(order.indexOf(name), 1);
      order.splice(shown.indexOf(name) + by, 0, name);
      if (S.view.pinned.has(beside) !== S.view.pinned.has(name)) S.view.pinned.delete(S.view.pinned.has(name) ? name : beside);
      S.view.order = [...order, ...S.view.order.filter((one) => !order.includes(one))];
      changedView();
    };
    S.columnHead.replaceChildren(
      el("div", { class: "pb-q pb-th", role: "columnheader", text: S.t("pb_probe") }),
      ...variants.map((variant, at) => {
        const column = S.columns[variant], name = column.name, on = S.view.pinned.has(name);
        const node = el("div", { class: `pb-th${on ? " pb-stuck" : ""}`, role: "columnheader", data: { variant: name } },
          el("span", { class: "pb-th-name", text: name, title: name }), el("span", { class: "pb-th-how", text: column.how }),
          el("span", { class: "pb-th-tools" },
            button("‹", S.t("pb_left_move", { name }), () => move(name, -1), { disabled: at === 0 }),
            button("›", S.t("pb_right_move", { name }), () => move(name, 1), { disabled: at === variants.length - 1 }),
            button(on ? S.t("pb_unpin") : S.t("pb_pin"), S.t("pb_pin_title", { name }), () => {
              if (!S.view.pinned.delete(name)) S.view.pinned.add(name);
              changedView();
            }, { "aria-pressed": String(on) }),
            button(S.t("pb_hide"), S.t("pb_hide_title", { name }), () => { S.view.hidden.add(name); changedView(); }, { disabled: variants.length === 1 })));
        if (S.left(at) !== null) node.style.left = S.left(at);
        return node;
      }),
    );
    S.hiddenBox.replaceChildren(
      ...(S.view.hidden.size ? [S.t("pb_hidden"), " "] : []),
      ...[...S.view.hidden].map((name) =>
        el("button", { type: "button", class: "pb-link", text: `${name} +`, title: S.t("pb_show_column", { name }),
          onclick: () => { S.view.hidden.delete(name); changedView(); } })),
    );
  };
})();
