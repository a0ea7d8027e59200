(() => {
  const study = JSON.parse(document.getElementById("study").textContent);
  const the = (id) => document.getElementById(id);
  const log = [];
  let edits = 0;
  let tasks = [], at = -1, shownAt = 0, leftPage = false, participant = "", condition = "", saved = false;

  // One stream of numbers per person: the same code gives the same order again.
  const hashed = (text) => { let hash = 2166136261; for (const sign of text) { hash ^= sign.codePointAt(0); hash = Math.imul(hash, 16777619); } return hash >>> 0; };
  const stream = (state) => () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  const shuffled = (list, draw) => {
    const dealt = [...list];
    for (let last = dealt.length - 1; last > 0; last--) { const other = Math.floor(draw() * (last + 1)); [dealt[last], dealt[other]] = [dealt[other], dealt[last]]; }
    return dealt;
  };
  const show = (id) => { for (const part of ["consent", "task", "end"]) the(part).hidden = part !== id; };

  the("code").value = [...crypto.getRandomValues(new Uint8Array(4))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const ready = () => { the("begin").disabled = !(the("agree").checked && the("code").value.trim()); };
  the("agree").checked = false;
  the("agree").addEventListener("change", ready);
  the("code").addEventListener("input", ready);

  the("begin").addEventListener("click", () => {
    participant = the("code").value.trim();
    const draw = stream(hashed(study.seed + "/" + participant));
    const dealt = study.conditions[Math.floor(draw() * study.conditions.length)];
    condition = study.design === "between" ? dealt : "";
    const own = study.tasks.filter((task) => study.design === "within" || task.condition === condition || (task.practice && !task.condition));
    tasks = [...own.filter((task) => task.practice), ...shuffled(own.filter((task) => !task.practice), draw)];
    log.push({ kind: "start", study: study.study, participant, consented: new Date().toISOString(), design: study.design, condition, order: tasks.map((task) => task.name) });
    show("task");
    next();
  });

  const next = () => {
    at += 1;
    if (at === tasks.length) return finish();
    const task = tasks[at];
    the("count").textContent = (task.practice ? "Practice, " : "") + (at + 1) + " of " + tasks.length;
    the("bar").max = tasks.length;
    the("bar").value = at;
    the("said").textContent = task.said;
    the("sure").textContent = task.confidence === undefined ? "" : "It is " + Math.round(100 * task.confidence) + "% sure.";
    the("pictures").replaceChildren(...task.pictures.map(([caption, address]) => {
      const figure = document.createElement("figure"), image = document.createElement("img"), line = document.createElement("figcaption");
      image.src = address; image.alt = caption; line.textContent = caption;
      figure.append(image, line);
      return figure;
    }));
    edits = 0;
    the("patchwork").hidden = !task.patchwork;
    the("patchwork").replaceChildren(...(task.patchwork ? patchwork(task) : []));
    the("told").hidden = true;
    the("ask").hidden = false;
    the("said").focus();
    leftPage = document.hidden;
    shownAt = performance.now();
  };

  // Known pictures in the order of a sum over patches; the first of them vote. Whole steps, so sums are exact.
  const voted = (work, chosen) => {
    const sum = (row) => {
      const counted = chosen.length ? chosen.map((patch) => row[patch]) : [...row].sort((one, other) => other - one).slice(0, work.best);
      return counted.reduce((total, step) => total + step, 0);
    };
    const sums = work.likeness.map(sum);
    const order = sums.map((_, known) => known).sort((one, other) => sums[other] - sums[one] || one - other);
    const votes = new Map();
    for (const known of order.slice(0, work.among)) votes.set(work.names[known], (votes.get(work.names[known]) || 0) + 1);
    const [name, count] = [...votes].reduce((most, next) => (next[1] > most[1] ? next : most));
    return { said: work.labels[name], count, of: Math.min(work.among, order.length), order };
  };

  const made = (kind, settings, ...inside) => {
    const element = Object.assign(document.createElement(kind), settings);
    element.append(...inside);
    return element;
  };

  const patchwork = (task) => {
    const work = task.patchwork, [rows, columns] = work.grid;
    let chosen = [];
    const now = made("p", { className: "now" });
    now.setAttribute("role", "status");
    const gallery = made("div", { className: "known" });
    const mark = (patch, number, kind) => {
      const box = made(kind, { className: "patch mark" + (number + 1), textContent: number + 1 });
      box.style.gridRow = Math.floor(patch / columns) + 1;
      box.style.gridColumn = (patch % columns) + 1;
      return box;
    };
    const grid = (...inside) => {
      const held = made("div", { className: "grid" }, ...inside);
      held.style.gridTemplate = "repeat(" + rows + ", 1fr) / repeat(" + columns + ", 1fr)";
      return held;
    };
    const own = (known) => work.likeness[known].map((step, patch) => [step, patch]).sort((one, other) => other[0] - one[0] || one[1] - other[1]).slice(0, work.best).map(([, patch]) => patch);
    const cells = work.editable ? [...Array(rows * columns).keys()].map((patch) => {
      const cell = made("button", { type: "button", className: "patch" });
      cell.setAttribute("aria-label", "row " + (Math.floor(patch / columns) + 1) + ", column " + ((patch % columns) + 1));
      cell.addEventListener("click", () => choose(chosen.includes(patch) ? chosen.filter((other) => other !== patch) : [...chosen, patch].slice(-work.best)));
      return cell;
    }) : [];
    const board = grid(...cells);
    const draw = () => {
      const found = voted(work, chosen), first = found.order.slice(0, work.shown);
      const marked = chosen.length ? chosen : own(first[0]);
      if (work.editable) cells.forEach((cell, patch) => {
        const number = marked.indexOf(patch);
        cell.className = "patch" + (number < 0 ? "" : " mark" + (number + 1));
        cell.textContent = number < 0 ? "" : number + 1;
        cell.setAttribute("aria-pressed", String(chosen.includes(patch)));
      });
      else board.replaceChildren(...marked.map((patch, number) => mark(patch, number, "span")));
      gallery.replaceChildren(...first.map((known) => {
        const patches = chosen.length ? chosen : own(known);
        return made("figure", {},
          made("div", { className: "framed" }, made("img", { src: work.known[known], alt: "" }), grid(...patches.map((patch, number) => mark(work.counterpart[known][patch], number, "span")))),
          made("figcaption", { textContent: work.labels[work.names[known]] }));
      }));
      const which = chosen.length ? "By the patches you chose" : "By the patches it chose itself";
      now.textContent = which + " it says: " + found.said + " (" + found.count + " of " + found.of + " pictures).";
      return found;
    };
    const choose = (patches) => {
      if (the("ask").hidden) return;
      chosen = patches;
      edits += 1;
      log.push({ kind: "edit", participant, task: task.name, patches: chosen, answer: draw().said });
    };
    draw();
    const reset = made("button", { type: "button", className: "plain", textContent: "Its own patches again" });
    reset.addEventListener("click", () => choose([]));
    const help = made("p", { className: "muted", textContent: "Choose up to " + work.best + " patches for it to compare; its answer is worked out anew each time. You judge what it said at first." });
    const picture = made("div", { className: "framed asked" }, made("img", { src: work.picture, alt: "the picture" }), board);
    return [...(work.editable ? [help] : []), picture, ...(work.editable ? [reset] : []), now, gallery];
  };

  const answer = (accepted) => {
    if (the("task").hidden || the("ask").hidden) return;
    const task = tasks[at];
    log.push({
      kind: "decision", participant, task: task.name, condition: task.condition, place: at, accepted,
      seconds: Math.round(performance.now() - shownAt) / 1000, practice: task.practice, left_page: leftPage, edits,
    });
    if (!task.practice) return next();
    the("ask").hidden = true;
    the("truth").textContent = (accepted === task.right ? "Yes: " : "No: ") + "the program was " + (task.right ? "right" : "wrong") + " here.";
    the("told").hidden = false;
    the("next").focus();
  };
  the("yes").addEventListener("click", () => answer(true));
  the("no").addEventListener("click", () => answer(false));
  the("next").addEventListener("click", next);
  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "y" || event.key === "Y") answer(true);
    if (event.key === "n" || event.key === "N") answer(false);
  });
  document.addEventListener("visibilitychange", () => { if (document.hidden) leftPage = true; });

  const finish = () => {
    log.push({ kind: "end", participant, finished: new Date().toISOString() });
    the("download").href = URL.createObjectURL(new Blob([log.map((line) => JSON.stringify(line)).join("\n") + "\n"], { type: "application/x-ndjson" }));
    the("download").download = study.study + "-" + participant.replace(/[^A-Za-z0-9_-]/g, "_") + ".jsonl";
    the("download").addEventListener("click", () => { saved = true; });
    the("shown-code").textContent = participant;
    show("end");
    the("end-title").focus();
  };
  window.addEventListener("beforeunload", (event) => { if (log.length && !saved) event.preventDefault(); });
})();
