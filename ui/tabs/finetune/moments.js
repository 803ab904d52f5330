// The moments of a training: one of them is shown, and the margin's curve has a mark where it was.
(() => {
  let at = null;

  const mark = (step) => {
    const chart = document.querySelector("#ft-curves svg[data-steps]");
    if (!chart) return;
    chart.querySelector(".mt-marker")?.remove();
    if (step === null) return;
    const { steps, left, right, bottom } = chart.dataset;
    const x = Number(left) + ((Number(right) - Number(left)) * step) / Number(steps);
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    for (const [name, value] of Object.entries({ x1: x, x2: x, y1: 4, y2: bottom, class: "mt-marker" })) line.setAttribute(name, value);
    chart.append(line);
  };

  const show = () => {
    const said = [...document.querySelectorAll("#ft-said .mt-moment")];
    if (!said.length) return;
    const chosen = said[Math.min(at ?? said.length - 1, said.length - 1)];
    for (const one of said) one.classList.toggle("mt-hidden", one !== chosen);
    mark(Number(chosen.dataset.step));
  };

  window.mirrorMoment = (chosen) => {
    at = chosen;
    show();
  };

  // figures and answers are drawn anew while a training goes on
  let waiting = false;
  new MutationObserver((changes) => {
    const ours = changes.some((one) => one.target.closest?.("#ft-run") && !one.target.closest("svg"));
    if (!ours || waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      show();
    });
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
