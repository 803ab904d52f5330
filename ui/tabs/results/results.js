// The Results tab in the browser: sorting, filtering and choosing columns need no server; a clicked verdict asks it for more.
(() => {
  const COLUMNS = "mirror-results-columns";
  const chosenColumns = () => JSON.parse(localStorage.getItem(COLUMNS) || "{}");

  let asked = 0, clicked = null;
  const ask = (key) => {
    const box = document.querySelector("#results-asked :is(textarea, input)");
    if (!box) return;
    // The same verdict twice is two events, so every click is another value.
    Object.getOwnPropertyDescriptor(Object.getPrototypeOf(box), "value").set.call(box, `${key}#${++asked}`);
    box.dispatchEvent(new Event("input", { bubbles: true }));
  };

  const filter = (section) => {
    const wanted = section.querySelector("[data-find]").value.trim().toLowerCase();
    const lang = section.querySelector("[data-of-lang]").value;
    const open = section.querySelector("[data-open-only]").checked;
    const rows = [...section.querySelectorAll("tbody .mt-result")];
    for (const row of rows) {
      row.hidden = !(row.textContent.toLowerCase().includes(wanted) && (!lang || row.dataset.langOf === lang) && (!open || row.dataset.open === "1"));
    }
    const count = section.querySelector("[data-count]");
    const shown = rows.filter((row) => !row.hidden).length;
    count.textContent = count.dataset.count.replace("{shown}", shown).replace("{all}", rows.length);
  };

  const filterAnswers = (section) => {
    const wanted = section.querySelector("[data-find-answer]").value.trim().toLowerCase();
    const label = section.querySelector("[data-of-label]").value, group = section.querySelector("[data-of-group]").value;
    for (const item of section.querySelectorAll(".mt-answers > li")) {
      const fits = item.textContent.toLowerCase().includes(wanted);
      item.hidden = !(fits && (!label || item.dataset.label === label) && (!group || item.dataset.group === group));
    }
  };

  const showColumn = (section, key, shown) => {
    for (const cell of section.querySelectorAll(`.mt-results-table [data-column="${key}"]`)) cell.hidden = !shown;
  };

  const valueOf = (row, column) => {
    const cell = [...row.cells].find((one) => one.dataset.column === column);
    if (cell.dataset.sort !== undefined) return cell.dataset.sort === "" ? null : Number(cell.dataset.sort);
    return cell.innerText.trim() || null;
  };

  const sort = (head) => {
    const table = head.closest("table"), body = table.tBodies[0], down = head.ariaSort === "ascending";
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    head.ariaSort = down ? "descending" : "ascending";
    const rows = [...body.rows].map((row) => [valueOf(row, head.dataset.column), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // nothing known comes last, both ways
      const order = typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
      return down ? -order : order;
    });
    body.append(...rows.map(([, row]) => row));
  };

  const save = (name, blob) => {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  // The figure's letters are shapes, so it needs no font and its canvas is not tainted.
  const saveFigure = (button) => {
    const svg = button.closest("figure").querySelector("svg"), name = `mirror-${button.dataset.name}`;
    const text = new XMLSerializer().serializeToString(svg);
    if (button.dataset.save === "svg") return save(`${name}.svg`, new Blob([text], { type: "image/svg+xml" }));
    const picture = new Image(), box = svg.viewBox.baseVal;
    picture.onload = () => {
      const canvas = Object.assign(document.createElement("canvas"), { width: box.width * 3, height: box.height * 3 });
      canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => save(`${name}.png`, blob), "image/png");
    };
    picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  };

  document.addEventListener("click", (event) => {
    const verdict = event.target.closest("[data-panel]");
    if (verdict) {
      ask(verdict.dataset.panel);
      if (verdict.matches(".mt-verdict")) clicked = verdict;
    }
    const by = event.target.closest("[data-sort-by]");
    if (by) sort(by.closest("th"));
    const figure = event.target.closest("[data-save]");
    if (figure) saveFigure(figure);
    const closed = event.target.closest("[data-close-panel], [data-close-sides]");
    if (closed) {
      closed.closest("section").hidden = true;
      const back = closed.matches("[data-close-panel]") ? clicked : document.querySelector("#mt-panel:not([hidden])");
      back?.scrollIntoView({ block: closed.matches("[data-close-panel]") ? "center" : "start" });
      back?.focus({ preventScroll: true });
    }
  });

  const changed = (event) => {
    const table = event.target.closest(".mt-results"), answers = event.target.closest(".mt-panel");
    if (event.target.dataset?.showColumn) {
      const key = event.target.dataset.showColumn;
      localStorage.setItem(COLUMNS, JSON.stringify({ ...chosenColumns(), [key]: event.target.checked }));
      showColumn(table, key, event.target.checked);
    } else if (table) {
      filter(table);
    } else if (answers) {
      filterAnswers(answers);
    }
  };
  document.addEventListener("input", changed);

  // What was clicked is answered by the server; then the page goes there.
  const arrived = new WeakSet();
  new MutationObserver(() => {
    for (const section of document.querySelectorAll(".mt-results:not([data-ready])")) {
      section.dataset.ready = "1";
      const columns = chosenColumns();
      for (const box of section.querySelectorAll("[data-show-column]")) {
        if (box.dataset.showColumn in columns) box.checked = columns[box.dataset.showColumn];
        showColumn(section, box.dataset.showColumn, box.checked);
      }
      filter(section);
    }
    for (const section of document.querySelectorAll("#mt-panel, #mt-sides")) {
      if (arrived.has(section)) continue;
      arrived.add(section);
      section.scrollIntoView({ block: "start", behavior: "instant" });
      section.focus({ preventScroll: true });
    }
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
