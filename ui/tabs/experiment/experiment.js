// The Experiment tab: what is clicked in its tables is told to the server through boxes that nobody sees.
(() => {
  let told = 0;
  const tell = (where, what) => {
    const box = document.querySelector(`${where} :is(textarea, input)`);
    if (!box) return;
    // The same cell twice is two events, so every click is another value.
    Object.getOwnPropertyDescriptor(Object.getPrototypeOf(box), "value").set.call(box, `${what}#${++told}`);
    box.dispatchEvent(new Event("input", { bubbles: true }));
  };

  let waiting = false;
  document.addEventListener("click", (event) => {
    const edit = event.target.closest("[data-xp-edit]");
    if (edit) tell("#xp-edit", edit.dataset.xpEdit);
    const cell = event.target.closest("[data-xp-cell], [data-xp-row]");
    if (cell && !String(getSelection())) {
      waiting = cell.closest("tr")?.classList.contains("xp-chosen") === false;
      tell("#xp-asked", cell.dataset.xpCell ?? cell.dataset.xpRow);
    }
  });

  // The panel of a cell that was clicked comes into sight, as the table above it may be long.
  new MutationObserver(() => {
    if (!waiting) return;
    const head = document.querySelector("#xp-panel-box:not(.mt-hidden) #xp-panel-head");
    if (!head || head.dataset.seen) return;
    head.dataset.seen = "1";
    waiting = false;
    head.scrollIntoView({ block: "nearest", behavior: "instant" });
    head.focus({ preventScroll: true });
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
