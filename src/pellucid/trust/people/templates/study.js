(() => {
  const study = JSON.parse(document.getElementById("study").textContent);
  const the = (id) => document.getElementById(id);
  const log = [];
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
    const counted = study.tasks.filter((task) => !task.practice && (study.design === "within" || task.condition === condition));
    tasks = [...study.tasks.filter((task) => task.practice), ...shuffled(counted, draw)];
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
    the("told").hidden = true;
    the("ask").hidden = false;
    the("said").focus();
    leftPage = document.hidden;
    shownAt = performance.now();
  };

  const answer = (accepted) => {
    if (the("task").hidden || the("ask").hidden) return;
    const task = tasks[at];
    log.push({
      kind: "decision", participant, task: task.name, condition: task.condition, place: at, accepted,
      seconds: Math.round(performance.now() - shownAt) / 1000, practice: task.practice, left_page: leftPage,
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
