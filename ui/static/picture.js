// A side-by-side comparison as a PNG, drawn here: the viewer's own fonts hold whatever the page shows, Chinese included.
(() => {
  const WIDTH = { 1: 640, 2: 460, 3: 400 }, NARROW = 340, GAP = 20, PAD = 32, MOST = 8000; // CSS pixels
  const SANS = "system-ui, 'Segoe UI', 'Helvetica Neue', 'PingFang SC', 'Microsoft YaHei', 'Noto Sans CJK SC', sans-serif";
  const INK = "#1c1b1a", QUIET = "#5a5751", LINE = "#dcd8d0", PAPER = "#ffffff", BUBBLE = "#f3f1ec";
  const HUES = ["#3d5a80", "#a8562a", "#236a63", "#86497a", "#7d6c16", "#5b5f66"];
  const zh = () => (document.documentElement.lang || navigator.language).startsWith("zh");

  // A font without a character draws the same box for every one of them.
  const holdsChinese = () => {
    const shapes = ["镜", "测", "识"].map((letter) => {
      const pen = Object.assign(document.createElement("canvas"), { width: 40, height: 40 }).getContext("2d");
      pen.font = `32px ${SANS}`;
      pen.fillText(letter, 2, 34);
      return pen.getImageData(0, 0, 40, 40).data.join();
    });
    return new Set(shapes).size === shapes.length;
  };

  // What a line may break before: words, and single Chinese characters, but no closing punctuation.
  const pieces = (text) => {
    const words = Intl.Segmenter
      ? [...new Intl.Segmenter(zh() ? "zh" : "en", { granularity: "word" }).segment(text)].map((part) => part.segment)
      : text.match(/[\u2e80-\uffff]|[^\s\u2e80-\uffff]+|\s+/gu) || [];
    const joined = [];
    for (const word of words) {
      if (joined.length && /^[\p{P}\p{Pe}\p{Pf}]/u.test(word) && !/^[\p{Ps}\p{Pi}]/u.test(word) && joined.at(-1).trim()) joined[joined.length - 1] += word;
      else joined.push(word);
    }
    return joined;
  };

  const lines = (pen, text, width) => {
    const found = [];
    for (const paragraph of text.split("\n")) {
      let line = "";
      for (const piece of pieces(paragraph)) {
        if (pen.measureText(line + piece).width <= width) {
          line += piece;
        } else if (pen.measureText(piece).width <= width && line) {
          found.push(line.trimEnd());
          line = piece.trimStart();
        } else {
          for (const letter of piece) {
            if (line && pen.measureText(line + letter).width > width) {
              found.push(line);
              line = "";
            }
            line += letter;
          }
        }
      }
      found.push(line.trimEnd());
    }
    return found;
  };

  const STYLES = {
    who: { font: `600 17px ${SANS}`, step: 24, colour: INK },
    how: { font: `13px ${SANS}`, step: 19, colour: QUIET },
    question: { font: `15px ${SANS}`, step: 23, colour: INK },
    answer: { font: `16px ${SANS}`, step: 26, colour: INK },
    facts: { font: `12.5px ${SANS}`, step: 19, colour: QUIET },
  };

  // Lays out one column, drawing it only if asked to: measuring and drawing are the same walk. Returns its height.
  const column = (pen, one, left, top, width, draw) => {
    let at = top;
    const say = (kind, text, indent = 0, after = 0) => {
      if (!text) return;
      const style = STYLES[kind];
      pen.font = style.font;
      for (const line of lines(pen, text, width - indent)) {
        at += style.step;
        if (draw) {
          pen.fillStyle = style.colour;
          pen.fillText(line, left + indent, at - 6);
        }
      }
      at += after;
    };
    if (draw) {
      pen.fillStyle = one.hue || QUIET;
      pen.fillRect(left, at, width, 2.5);
    }
    at += 10;
    if (one.letter) {
      if (draw) {
        pen.strokeStyle = pen.fillStyle = one.hue || QUIET;
        pen.lineWidth = 1.5;
        pen.beginPath();
        pen.arc(left + 12, at + 13, 11, 0, 7);
        pen.stroke();
        pen.font = `600 12px ${SANS}`;
        pen.textAlign = "center";
        pen.fillText(one.letter, left + 12, at + 17.5);
        pen.textAlign = "left";
      }
    }
    say("who", one.who, one.letter ? 34 : 0);
    say("how", one.how, one.letter ? 34 : 0, 10);
    say("answer", one.answer, 0, 8);
    say("facts", one.facts, 0, 0);
    return at - top;
  };

  const drawing = (told) => {
    const count = told.columns.length, width = WIDTH[count] || NARROW;
    const whole = 2 * PAD + count * width + (count - 1) * GAP;
    const canvas = document.createElement("canvas");
    let pen = canvas.getContext("2d");
    pen.font = STYLES.question.font;
    const asked = lines(pen, told.question, Math.min(whole - 2 * PAD - 28, 900));
    const top = PAD + 20 + asked.length * STYLES.question.step + 34;
    const tall = Math.max(...told.columns.map((one) => column(pen, one, 0, 0, width, false)));
    const height = Math.min(top + tall + 24 + 22 + PAD, MOST);
    const scale = height > MOST / 2 ? 1 : 2;
    canvas.width = whole * scale;
    canvas.height = height * scale;
    pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.fillStyle = PAPER;
    pen.fillRect(0, 0, whole, height);
    pen.font = STYLES.question.font;
    const wide = Math.max(...asked.map((line) => pen.measureText(line).width)) + 28;
    pen.fillStyle = BUBBLE;
    pen.beginPath();
    pen.roundRect(PAD, PAD, wide, asked.length * STYLES.question.step + 18, 9);
    pen.fill();
    pen.fillStyle = INK;
    asked.forEach((line, number) => pen.fillText(line, PAD + 14, PAD + 25 + number * STYLES.question.step));
    told.columns.forEach((one, number) => column(pen, one, PAD + number * (width + GAP), top, width, true));
    pen.fillStyle = PAPER;
    pen.fillRect(0, height - PAD - 24, whole, PAD + 24); // what is longer than the picture ends above its last line
    pen.fillStyle = LINE;
    pen.fillRect(PAD, height - PAD - 16, whole - 2 * PAD, 1);
    pen.font = STYLES.facts.font;
    pen.fillStyle = QUIET;
    const cut = height === MOST ? (zh() ? "，图片在此截断" : ", cut here: the answers go on") : "";
    pen.fillText(`${told.about}${cut}`, PAD, height - PAD + 4);
    return canvas;
  };

  const showNotice = (text) => {
    const note = Object.assign(document.createElement("div"), { className: "mt-picture-note", role: "status", textContent: text });
    document.body.append(note);
    setTimeout(() => note.remove(), 6000);
  };

  const about = (base) => ["Mirror Test 镜测", base, new Date().toISOString().slice(0, 10)].filter(Boolean).join(" · ");

  const save = (told) => {
    if (/[\u2e80-\u9fff]/.test(JSON.stringify(told)) && !holdsChinese()) {
      showNotice(zh() ? "本机没有中文字体，图片中的汉字会显示为方框；请安装一种，例如 Noto Sans CJK。"
        : "This machine has no font with Chinese: the picture has boxes in its place. Install one, such as Noto Sans CJK.");
    }
    drawing(told).toBlob((blob) => {
      const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: told.name });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    }, "image/png");
  };

  const text = (root, selector) => root?.querySelector(selector)?.innerText.trim() || "";

  // The newest turn as the page shows it, so a blind comparison stays blind; every headline names who really answered.
  const chat = () => {
    const shown = [...document.querySelectorAll(".mt-columns .mt-col")].filter((box) => box.offsetParent);
    const turns = shown.map((box) => ({ box, turn: [...box.querySelectorAll(".mt-turn")].at(-1) })).filter(({ turn }) => turn);
    if (!turns.length) return showNotice(zh() ? "还没有回答，提问之后才有图片。" : "Nothing has been answered yet; ask something first.");
    if (turns.some(({ turn }) => turn.querySelector(".mt-live"))) {
      return showNotice(zh() ? "还在回答，结束后再保存图片。" : "The columns are still answering; wait until they have finished.");
    }
    const question = text(turns.at(-1).turn, ".mt-q");
    const columns = turns.filter(({ turn }) => text(turn, ".mt-q") === question).map(({ box, turn }) => ({
      letter: text(box, ".mt-letter"),
      who: text(box, ".mt-who"),
      how: text(box, ".mt-how"),
      answer: text(turn, ".mt-a, .mt-failed"),
      facts: [...turn.querySelectorAll(".mt-facts span")].map((fact) => fact.innerText).join(" · "),
      hue: HUES[box.querySelector(".mt-head")?.className.match(/mt-hue-(\d)/)?.[1]],
    }));
    save({ question, columns, about: about(text(document, ".mt-base span")), name: "mirror-chat.png" });
  };

  // Any element with [data-picture-question] and [data-picture-column]s inside it: who, how, answer, facts. Its data-base names
  // the base that answered, which need not be the one this page has loaded.
  const comparison = (root) => {
    const columns = [...root.querySelectorAll("[data-picture-column]")].map((box, number) => ({
      letter: text(box, ".mt-letter"),
      who: text(box, ".mt-who"),
      how: text(box, ".mt-how"),
      answer: text(box, ".mt-a"),
      facts: text(box, ".mt-said"),
      hue: HUES[number % HUES.length],
    }));
    save({ question: text(root, "[data-picture-question]"), columns, about: about(root.dataset.base), name: "mirror-comparison.png" });
  };

  window.mirrorPicture = { chat, comparison, drawing, holdsChinese };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-picture]");
    if (button) comparison(button.closest("[data-picture-root]"));
  });
})();
