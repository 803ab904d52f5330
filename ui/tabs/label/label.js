// The desk of the Label tab: one answer at a time, a key for every decision, the next one there before the server knows.
(() => {
  const LABELS = ["not forgotten", "forgotten", "formed", "confusion"];
  const CONTROLS = ["clean", "intrusion", "broken"];
  const CHOICES = ["A", "B", "tie", "both bad"];
  const ARROWS = { ArrowLeft: "A", ArrowRight: "B", ArrowUp: "tie", ArrowDown: "both bad" };
  const TAGS = {
    name: ["old", "new", "generic", "third party", "human", "placeholder", "malformed", "none"],
    maker: ["old", "new", "third party", "human", "placeholder", "malformed", "none"],
    role: ["old", "new", "generic", "third party", "human", "none"],
  };
  const TAG_KEYS = { n: "name", m: "maker", r: "role" };
  const REFILL = 20, LONGEST_S = 120, LOOK_MS = 15000, AGAIN_MS = 1500;

  const newToken = () => [...crypto.getRandomValues(new Uint8Array(12))].map((n) => n.toString(16).padStart(2, "0")).join("");
  const empty = () => ({ tags: {}, flag: false, comment: "" });

  const openDesk = (root) => {
    const { annotator } = root.dataset;
    const base = { queue: Number(root.dataset.queue), annotator };
    const words = JSON.parse(root.dataset.words);
    const outbox = window.mirrorOutbox;
    const decided = new Set(); // items decided here: the server may not have heard of it yet
    const owed = new Map(); // token -> what a decision on its way changes in the counts
    let fetching = false, since = 0, closed = false, turned = -3;

    // items: to come, the first is on the desk. done: decided, newest first. editing: one of done that is looked at again.
    const desk = {
      root, words, about: null, items: [], done: [], editing: null, draft: empty(), was: null, progress: null, notes: [],
      problem: "", help: false, dry: false, tagKeys: TAG_KEYS,
      say: (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]),
      word: (label) => words[`label_${label.replaceAll(" ", "_")}`] || label,
      pairs: () => desk.about.kind === "pairs",
      current: () => (desk.editing ? desk.editing.card : desk.items[0]),
      choices: (card) => (desk.pairs() ? CHOICES : card && card.control ? CONTROLS : LABELS),
      owed: (which) => [...owed.values()].reduce((sum, change) => sum + change[which], 0),
    };
    const draw = window.mirrorDrawDesk(desk);

    // --- what comes from the server ---------------------------------------------------------------------------------------

    const showNews = (news) => {
      for (const result of news.results || []) {
        owed.delete(result.token);
        const entry = desk.done.find((one) => one.token === result.token);
        if (entry) entry.state = result.status;
        if (result.status === "refused") desk.notes.push(result.message);
      }
      if (news.queue === base.queue) {
        if (news.progress) desk.progress = { ...desk.progress, ...news.progress };
        if (news.gone) leave(news.gone);
        if ((news.crowded || []).length) part();
      }
      if (!desk.current()) return draw.paint(); // nothing that somebody is writing in
      draw.paintTop();
      draw.paintNotes();
      draw.paintRecent();
    };
    showNews.asks = () => ({ ...base, held: desk.items.map((card) => card.item) });

    // What others have finished meanwhile; never the one that is being looked at.
    const leave = (gone) => {
      desk.items = desk.items.filter((card, at) => at === 0 || !gone.includes(card.item));
      refill();
    };

    // Somebody decides the same items at the same moment, and the server tells the later one: who walks backwards meets them once.
    // The item on the desk stays, so it may be said of the next one, too; turning round again would undo it.
    const part = () => {
      const [first, ...rest] = desk.items;
      if (!first || decided.size < turned + 3) return;
      turned = decided.size;
      desk.items = [first, ...rest.reverse()];
    };

    const start = async () => {
      try {
        const found = await outbox.post("open", base);
        if (closed) return;
        desk.about = found.queue;
        desk.progress = found.progress;
        desk.items = found.items;
        desk.dry = !found.items.length;
        desk.done = found.recent.map((card) => ({ card, said: { ...empty(), ...card.said }, state: "stored" }));
        desk.problem = "";
        fresh();
      } catch (error) {
        if (closed) return;
        const final = error.status === 409 || error.status === 403; // asking again would not help
        desk.problem = final ? error.message : desk.say(error.status === 401 ? "login" : "no_server");
        if (!final) setTimeout(start, AGAIN_MS);
      }
      draw.paint();
    };

    const refill = async (skipped = false) => {
      if (fetching || closed || !desk.about) return;
      if (!skipped && (desk.dry || desk.items.length >= REFILL)) return;
      fetching = true;
      try {
        const without = [...new Set([...desk.items.map((card) => card.item), ...decided])].slice(-900);
        const found = await outbox.post("more", { ...base, without, skipped });
        if (closed) return;
        const more = found.items.filter((card) => !decided.has(card.item) && !desk.items.some((one) => one.item === card.item));
        const waited = !desk.items.length;
        desk.items.push(...more);
        desk.dry = !more.length;
        if (!owed.size) desk.progress = found.progress;
        if (waited) {
          fresh();
          draw.paint();
        } else draw.paintTop();
      } catch {
        setTimeout(() => refill(skipped), AGAIN_MS);
      } finally {
        fetching = false;
      }
    };

    // How far the others are; and a sign of life of the server.
    const look = async () => {
      if (!desk.about || document.hidden || !root.offsetParent || outbox.state().waiting) return;
      try {
        showNews({ ...(await outbox.post("state", showNews.asks())), queue: base.queue });
        if (desk.dry && !desk.items.length && desk.progress.left > 0) {
          desk.dry = false;
          refill();
        }
      } catch {
        // the next decision will tell whether the server is there
      }
    };

    // --- decisions --------------------------------------------------------------------------------------------------------

    // A new item on the desk, or one that has been decided before, with what was said of it.
    const fresh = (said = null) => {
      desk.draft = said && said.tags ? { tags: { ...said.tags }, flag: said.flag, comment: said.comment } : empty();
      desk.was = said ? said.label || said.choice || null : null;
      since = performance.now();
    };

    const send = (card, what, change) => {
      const token = newToken();
      owed.set(token, change);
      const answer = desk.pairs() ? {} : { answer: card.sides[0].answer };
      return [token, { token, queue: base.queue, stamp: desk.about.stamp, annotator, item: card.item, ...answer, ...what }];
    };

    // label: a label or a choice between two; null skips.
    const decide = (label) => {
      const card = desk.current();
      if (!card) return;
      const again = Boolean(desk.editing), seconds = Math.round(performance.now() - since) / 1000;
      const said = desk.pairs() ? { choice: label } : { ...desk.draft, label };
      const what = desk.pairs()
        ? label ? { do: "vote", choice: label, order: card.sides.map((side) => side.answer) } : { do: "skip" }
        : { do: label ? "label" : "skip", ...said, seconds: again || seconds > LONGEST_S ? null : seconds };
      const before = again ? desk.editing.said.label || desk.editing.said.choice : null;
      const [token, decision] = send(card, what, { mine: Number(Boolean(label)) - Number(Boolean(before)), left: Number(!again) });
      const entry = { card, said, token, state: "waiting" };
      if (again) desk.done[desk.done.indexOf(desk.editing)] = entry;
      else {
        desk.items.shift();
        desk.done.unshift(entry);
      }
      decided.add(card.item);
      desk.editing = null;
      fresh();
      outbox.put(decision);
      draw.paint();
      refill();
    };

    const skip = () => (desk.editing ? cancel() : decide(null));

    const undo = () => {
      const entry = desk.editing || desk.done[0];
      if (!entry) return;
      const counted = Number(Boolean(entry.said.label || entry.said.choice));
      const [, decision] = send(entry.card, { do: "undo" }, { mine: -counted, left: -1 });
      desk.done = desk.done.filter((one) => one !== entry);
      desk.items.unshift(entry.card);
      decided.delete(entry.card.item);
      desk.editing = null;
      fresh(entry.said);
      outbox.put(decision);
      draw.paint();
    };

    const edit = (entry) => {
      desk.editing = entry;
      fresh(entry.said);
      draw.paint();
      root.scrollIntoView({ block: "nearest" });
    };

    const cancel = () => {
      desk.editing = null;
      fresh();
      draw.paint();
    };

    const cycle = (aspect, back) => {
      const values = ["", ...TAGS[aspect]];
      const at = values.indexOf(desk.draft.tags[aspect] || "");
      const next = values[(at + (back ? values.length - 1 : 1)) % values.length];
      if (next) desk.draft.tags[aspect] = next;
      else delete desk.draft.tags[aspect];
      draw.paintMarks();
    };

    const flag = () => {
      desk.draft.flag = !desk.draft.flag;
      draw.paintMarks();
    };

    const comment = () => {
      const box = root.querySelector(".lb-comment");
      box.hidden = false;
      box.querySelector("textarea").focus();
    };

    const showHelp = (there) => {
      desk.help = there;
      draw.paintHelp();
    };

    const skippedAgain = () => {
      decided.clear();
      refill(true);
    };

    Object.assign(desk, { decide, skip, undo, edit, cancel, cycle, flag, comment, showHelp, skippedAgain });

    // --- keys -------------------------------------------------------------------------------------------------------------

    const busyElsewhere = (event) => {
      const at = event.target instanceof Element ? event.target : document.body;
      if (at.closest("input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable]:not([contenteditable=false]), [role=listbox]")) return true;
      // These belong to what was reached with the keyboard; the tab itself was only clicked on.
      const pressed = at.closest("button, a, summary, input, [role=button], [role=slider]");
      const native = event.key === " " || event.key === "Enter" || event.key.startsWith("Arrow");
      return Boolean(native && pressed && pressed.getAttribute("role") !== "tab" && pressed.matches(":focus-visible"));
    };

    // Whether the key meant something here.
    const act = (event) => {
      const name = event.key, low = name.toLowerCase();
      if (desk.help) return name === "Escape" || name === "?" ? (showHelp(false), true) : false;
      if (name === "?") return showHelp(true), true;
      if (!desk.about || desk.problem) return false;
      if (name === "Backspace") return undo(), true;
      const card = desk.current();
      if (!card) return false;
      const label = (/^[1-4]$/.test(name) && desk.choices(card)[Number(name) - 1]) || (desk.pairs() && ARROWS[name]);
      if (label) return decide(label), true;
      if (name === " ") return skip(), true;
      if (name === "Escape" && desk.editing) return cancel(), true;
      if (desk.pairs()) return false;
      if (TAG_KEYS[low]) return cycle(TAG_KEYS[low], event.shiftKey), true;
      if (low === "f") return flag(), true;
      if (low === "c") return comment(), true;
      return false;
    };

    const pressed = (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.keyCode === 229 || event.defaultPrevented) return;
      if (!root.offsetParent || busyElsewhere(event)) return;
      // a key held down is one decision
      if (event.repeat && (/^[1-4 ]$/.test(event.key) || event.key === "Backspace" || event.key in ARROWS)) return;
      if (act(event)) event.preventDefault();
    };

    document.addEventListener("keydown", pressed);
    outbox.listeners.add(showNews);
    const timer = setInterval(look, LOOK_MS);
    draw.paint();
    start();
    const close = () => {
      closed = true;
      document.removeEventListener("keydown", pressed);
      outbox.listeners.delete(showNews);
      clearInterval(timer);
    };
    return { close, fill: draw.fill };
  };

  // Opened when it is first seen: a page that nobody looks at asks for nothing. Gradio changes elements in place: other attributes
  // are another desk, and what it takes out because its own HTML is empty is put in again.
  customElements.define("mirror-desk", class extends HTMLElement {
    static observedAttributes = ["data-queue", "data-annotator", "data-words", "data-revealed"];

    connectedCallback() {
      this.seen = new ResizeObserver(() => this.enter());
      this.seen.observe(this);
      this.kept = new MutationObserver(() => {
        if (this.desk && !this.childElementCount) this.desk.fill();
      });
      this.kept.observe(this, { childList: true });
    }

    attributeChangedCallback(_name, before) {
      if (before === null || this.changed) return;
      this.changed = setTimeout(() => {
        this.changed = 0;
        this.leave();
        this.enter();
      });
    }

    disconnectedCallback() {
      this.seen.disconnect();
      this.kept.disconnect();
      this.leave();
    }

    enter() {
      if (this.isConnected && this.offsetParent && !this.desk) this.desk = openDesk(this);
    }

    leave() {
      if (this.desk) this.desk.close();
      this.desk = null;
    }
  });
})();
