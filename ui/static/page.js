// The page's own small script: language and light/dark switches, following a growing answer, Escape for Stop.
(() => {
  const THEME = "mirror-theme";

  const setDark = (dark) => {
    document.body.classList.toggle("dark", dark);
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
  };

  // Gradio sets the class by the system's preference while it starts; the person's own choice comes after it.
  const chosen = localStorage.getItem(THEME);
  if (chosen) setDark(chosen === "dark");

  document.addEventListener("click", (event) => {
    const language = event.target.closest("[data-lang]");
    if (language) {
      document.cookie = `mirror_lang=${language.dataset.lang};path=/;max-age=31536000;samesite=lax`;
      location.reload();
    }
    const copy = event.target.closest("[data-copy]");
    if (copy) navigator.clipboard.writeText(copy.parentElement.querySelector("pre").innerText);
    if (event.target.closest("[data-theme-switch]")) {
      const dark = !document.body.classList.contains("dark");
      localStorage.setItem(THEME, dark ? "dark" : "light");
      setDark(dark);
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.isComposing) {
      const stop = [...document.querySelectorAll("#stop, #try-stop")].find((button) => button.offsetParent);
      if (stop) stop.click();
    }
  });

  // A transcript follows its newest words unless its reader has scrolled up.
  const NEAR = 80;
  const follow = new WeakMap();
  const watched = (box) => {
    if (!follow.has(box)) {
      follow.set(box, true);
      box.addEventListener("scroll", () => follow.set(box, box.scrollHeight - box.scrollTop - box.clientHeight < NEAR));
    }
    return follow.get(box);
  };
  new MutationObserver((changes) => {
    const boxes = new Set();
    for (const change of changes) {
      const node = change.target.nodeType === 1 ? change.target : change.target.parentElement;
      const box = node && node.closest(".mt-transcript");
      if (box && !node.closest("details")) boxes.add(box);
    }
    for (const box of boxes) if (watched(box)) box.scrollTop = box.scrollHeight;
  }).observe(document.documentElement, { childList: true, subtree: true, characterData: true });
})();
