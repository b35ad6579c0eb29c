"use strict";
(() => {
  const all = (selector, under = document) => [...under.querySelectorAll(selector)];
  const make = (tag, options = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), options);
    element.append(...children);
    return element;
  };

  // --- Sort tables by a click on a heading. ---

  for (const table of all("table.sortable")) {
    const heads = all("thead th", table), body = table.tBodies[0];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const down = column && head.getAttribute("aria-sort") !== "descending";
      const up = !column && head.getAttribute("aria-sort") !== "ascending";
      const sign = column ? (down ? -1 : 1) : (up ? 1 : -1);
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const value = row => {
        const cell = row.cells[column];
        return column ? (cell.dataset.v === undefined ? NaN : +cell.dataset.v) : cell.textContent;
      };
      const compare = (a, b) => {
        const x = value(a), y = value(b);
        if (!column) return sign * x.localeCompare(y);
        return Number.isNaN(x) ? 1 : Number.isNaN(y) ? -1 : sign * (x - y);
      };
      body.append(...[...body.rows].sort(compare));
    }));
  }

  for (const cell of all(".significance td")) {
    const description = cell.querySelector(".hidden");
    if (description) cell.title = description.textContent;
  }

  // --- Show the examples. ---

  const data = JSON.parse(document.getElementById("data").textContent);
  const percent = x => (100 * x).toFixed(x >= .0995 || x === 0 ? 0 : 1) + "\u00a0%";
  const unpack = async packed => {
    const bytes = Uint8Array.from(atob(packed), c => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };
  const plain = piece => piece.replaceAll("\u2581", " ");
  const apart = piece => piece.startsWith("\u2581") || /^<.*>$/.test(piece);  // a space separates it from the piece before

  const GIVEN_OUTPUT = "alignment given the whole output";  // posterior of a latent alignment

  for (const root of all(".explorer")) explorer(root, data[+root.dataset.set]);

  function explorer(root, set) {
    const {entries, pools, examples} = set;
    root.replaceChildren();
    let shown = 0, loaded = 0;
    const together = [];  // shown panels; a step in one panel moves all panels with the same output
    const layers = new Set(), posteriors = new Set(), counts = new Map();
    for (const example of examples) for (const item of example.items) for (const [name, heads] of item.slots) {
      if (name.startsWith("cross.")) { layers.add(+name.slice(6)); counts.set(name, Math.max(heads, counts.get(name) || 0)); }
      if (name.startsWith("posterior.")) posteriors.add(name);
    }
    const label = (text, control) => make("label", {}, text + " ", control);
    const number = make("input", {type: "number", min: 1, max: examples.length, value: 1});
    const before = make("button", {type: "button", textContent: "◀ previous"});
    const after = make("button", {type: "button", textContent: "next ▶"});
    const layer = make("select", {}, new Option("last, mean of heads", ""),
      ...[...layers].sort((a, b) => a - b).map(n => new Option(`layer ${n + 1}`, `cross.${n}`)),
      ...[...posteriors].map(name => new Option(GIVEN_OUTPUT, name)));
    const head = make("select");
    const search = make("input", {type: "search", placeholder: "a word in source or reference"});
    root.append(make("div", {className: "bar"}, before, label("example", number), make("span", {textContent: `of ${examples.length}`}),
      after, label("find", search), label("layer", layer), label("head", head)));
    const withAttention = new Set(examples.flatMap(example => example.items.map(item => item.entry)));
    const boxes = entries.map((name, n) => {
      const box = make("input", {type: "checkbox", value: n, disabled: !withAttention.has(n)});
      box.checked = false;
      box.addEventListener("change", show);
      return box;
    });
    boxes.filter(box => !box.disabled).slice(0, 3).forEach(box => { box.checked = true; });
    const legend = make("legend", {textContent: "configurations"});
    root.append(make("fieldset", {}, legend, ...boxes.map((box, n) => make("label", {}, box, " " + entries[n]))));
    root.append(make("p", {className: "keys", textContent:
      "Hover over an output word to see its attention, or click it and use ← →. Esc shows the mean over all steps. " +
      "Page Up and Page Down change the example."}));
    const reference = make("div", {className: "reference"}), panels = make("div", {className: "panels"});
    const live = make("p", {className: "hidden", role: "status"});
    root.append(reference, panels, live);

    const fillHeads = () => {
      const count = layer.value ? counts.get(layer.value) : 1, was = head.value;
      head.replaceChildren(new Option("mean", ""), ...(layer.value && count > 1 ? [...Array(count).keys()].map(n => new Option(n + 1, n)) : []));
      head.value = [...head.options].some(option => option.value === was) ? was : "";
      head.disabled = head.options.length < 2;
    };
    const go = n => {
      shown = Math.max(0, Math.min(examples.length - 1, n));
      number.value = shown + 1;
      show();
    };
    before.addEventListener("click", () => go(shown - 1));
    after.addEventListener("click", () => go(shown + 1));
    number.addEventListener("change", () => go(Math.round(+number.value || 1) - 1));
    layer.addEventListener("change", () => { fillHeads(); show(); });
    head.addEventListener("change", show);
    search.addEventListener("keydown", event => {
      if (event.key !== "Enter") return;
      const wanted = search.value.trim().toLowerCase();
      if (!wanted) return;
      for (let k = 1; k <= examples.length; k++) {
        const n = (shown + k) % examples.length, {source, references} = examples[n];
        if ([source, ...references].some(text => text.toLowerCase().includes(wanted))) { go(n); return; }
      }
      live.textContent = `no example contains ${wanted}`;
    });
    root.addEventListener("keydown", event => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select")) return;
      const step = {PageUp: -1, PageDown: 1}[event.key];
      if (step) { event.preventDefault(); go(shown + step); }
    });
    fillHeads();
    show();

    async function show() {
      const example = examples[shown], turn = ++loaded;
      const bytes = await unpack(example.data);
      if (turn !== loaded) return;  // the user asked for another example in the meantime
      before.disabled = shown === 0;
      after.disabled = shown === examples.length - 1;
      reference.replaceChildren(
        ...(example.source && example.source.length < 600 ? [make("p", {dir: "auto"}, make("b", {textContent: "source "}), example.source)] : []),
        ...example.references.map(text => make("p", {dir: "auto"}, make("b", {textContent: "reference "}), text)));
      const chosen = new Set(boxes.filter(box => box.checked).map(box => +box.value));
      together.length = 0;
      panels.replaceChildren(...example.items.filter(item => chosen.has(item.entry)).map(item => panel(example, item, bytes)));
      live.textContent = `example ${shown + 1} of ${examples.length}`;
      root.dataset.ready = shown + 1;
    }

    function weightsOf(item, bytes) {
      const wanted = item.slots.find(([name]) => name === layer.value) || item.slots.find(([name]) => name === "");
      if (!wanted) return null;
      const [name, heads, rows, columns, offset, largest] = wanted;
      const one = name && head.value !== "" && +head.value < heads ? [+head.value] : [...Array(heads).keys()];
      const row = t => {
        const out = new Float64Array(columns);
        for (const h of one) {
          const start = offset + (h * rows + t) * columns;
          for (let s = 0; s < columns; s++) out[s] += bytes[start + s] / 255 * largest / one.length;
        }
        return out;
      };
      const sentinels = item.slots.filter(([slot]) => slot.startsWith("sentinel."));
      const beside = layer.value ? sentinels.find(([slot]) => slot === "sentinel." + layer.value) : sentinels.at(-1);
      const outside = t => {  // attention on the sentinel, mean over the shown heads
        const [, count, steps, , start, most] = beside, heads = one.length === 1 && count > 1 ? one : [...Array(count).keys()];
        const from = t < 0 ? [...Array(steps).keys()] : [t];
        return heads.reduce((sum, h) => sum + from.reduce((all, n) => all + bytes[start + h * steps + n], 0), 0) / 255 * most / heads.length / from.length;
      };
      const which = (name ? `layer ${+name.slice(6) + 1}, ` : "last layer, ") + (one.length > 1 || !name ? "mean of heads" : `head ${one[0] + 1}`);
      return {rows, columns, row, outside: beside ? outside : null, what: posteriors.has(name) ? GIVEN_OUTPUT : which};
    }

    function panel(example, item, bytes) {
      const target = pools[item.target], source = pools[item.source], weights = weightsOf(item, bytes);
      const title = make("h4", {textContent: entries[item.entry]});
      const status = make("p", {className: "status", ariaLive: "polite"});
      if (!weights) return make("div", {className: "panel"}, title, make("p", {dir: "auto", textContent: item.text}), "The source is too long to show.");
      const rows = [...Array(weights.rows).keys()].map(weights.row);
      const mean = rows[0].map((_, s) => rows.reduce((sum, row) => sum + row[s], 0) / rows.length);
      const group = make("div", {className: "tokens", dir: "auto"});
      group.setAttribute("role", "radiogroup");
      group.setAttribute("aria-label", `output of ${entries[item.entry]}`);
      const buttons = target.map((piece, t) => {
        const button = make("button", {type: "button", textContent: plain(piece).trim() || "·", tabIndex: t ? -1 : 0});
        button.setAttribute("role", "radio");
        button.setAttribute("aria-checked", false);
        if (t && apart(piece)) group.append(" ");
        group.append(button);
        return button;
      });
      const picture = item.cells ? overlay(example, item, weights.columns) : null;
      const [words, spans, sentences] = item.cells ? [null, [], []] : strip(source, item.sentences);
      const map = make("canvas", {className: "map", width: weights.columns, height: weights.rows});
      map.setAttribute("aria-hidden", true);
      paint(map, rows);
      let kept = -1;
      const look = t => {
        const row = t < 0 ? mean : rows[t];
        const top = Math.max(...row, Math.min(1, 3 / row.length));
        spans.forEach((span, s) => { span.style.setProperty("--w", (row[s] / top).toFixed(2)); span.title = percent(row[s]); });
        if (sentences.length) {
          const shares = sentences.map(() => 0);
          item.sentences.forEach((n, s) => { shares[n] += row[s]; });
          const most = Math.max(...shares, Math.min(1, 3 / shares.length));
          sentences.forEach((sentence, n) => { sentence.style.setProperty("--s", (shares[n] / most).toFixed(2)); sentence.title = percent(shares[n]); });
        }
        if (picture) picture.light(row);
        const order = [...row.keys()].sort((a, b) => row[b] - row[a]).slice(0, 3).filter(s => row[s] > .005);
        const where = order.map(s => (item.cells ? `row ${item.cells[s][0] + 1}, column ${item.cells[s][1] + 1}` : `\u2068${plain(source[s]).trim()}\u2069`) + ` ${percent(row[s])}`);
        if (weights.outside) where.push(`outside the source ${percent(weights.outside(t))}`);
        status.textContent = `${t < 0 ? "all steps" : "\u2068" + buttons[t].textContent + "\u2069"} (${weights.what}): ${where.join(", ") || "nothing"}`;
        map.dataset.step = t;
      };
      const choose = (t, focus, alone) => {
        kept = t;
        if (!alone) for (const other of together) if (other.target === item.target && other.choose !== choose) other.choose(t, false, true);
        buttons.forEach((button, n) => {
          button.setAttribute("aria-checked", n === t);
          button.tabIndex = n === Math.max(0, t) ? 0 : -1;
        });
        look(t);
        if (focus && t >= 0) buttons[t].focus();
      };
      buttons.forEach((button, t) => {
        button.addEventListener("click", () => choose(t === kept ? -1 : t));
        button.addEventListener("pointerenter", event => { if (event.pointerType === "mouse") look(t); });
        button.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") look(kept); });
      });
      const rowAt = event => Math.min(rows.length - 1, Math.floor(event.offsetY / map.clientHeight * rows.length));
      map.addEventListener("pointermove", event => { if (event.pointerType === "mouse") look(rowAt(event)); });
      map.addEventListener("pointerleave", () => look(kept));
      map.addEventListener("click", event => choose(rowAt(event)));
      group.addEventListener("keydown", event => {
        if (event.altKey || event.ctrlKey || event.metaKey) return;
        const last = buttons.length - 1, back = getComputedStyle(group).direction === "rtl" ? "ArrowRight" : "ArrowLeft";
        const forth = back === "ArrowLeft" ? "ArrowRight" : "ArrowLeft";
        const next = {Escape: -1, Home: 0, End: last, [back]: Math.max(0, kept - 1), [forth]: Math.min(last, kept + 1)};
        if (!(event.key in next)) return;
        event.preventDefault();
        choose(next[event.key], true);
      });
      look(-1);
      together.push({target: item.target, choose});
      const part = text => make("p", {className: "label", textContent: text});
      return make("div", {className: "panel"}, title, part("output"), group, status,
        ...(picture ? [picture.element] : [part("source"), words]), part("attention of all steps, one row for each step"), map);
    }

    function strip(source, sentences) {
      const words = make("div", {className: "tokens", dir: "auto"}), blocks = [];
      const spans = source.map((piece, s) => {
        const span = make("span", {textContent: plain(piece).trim() || "·"});
        let into = words;
        if (sentences) {
          while (blocks.length <= sentences[s]) { blocks.push(make("div", {className: "sentence", dir: "auto"})); words.append(blocks.at(-1)); }
          into = blocks[sentences[s]];
        }
        if (apart(piece) && into.childNodes.length) into.append(" ");
        into.append(span);
        return span;
      });
      return [words, spans, blocks];
    }

    function colour() {
      return getComputedStyle(document.documentElement).getPropertyValue("--word").trim().split(/\s+/).map(Number);
    }

    function paint(canvas, rows) {
      const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height), [r, g, b] = colour();
      // A map of nearly even weights stays pale, as the words do.
      const top = Math.max(...rows.map(row => Math.max(...row)), Math.min(1, 3 / canvas.width));
      rows.forEach((row, t) => row.forEach((w, s) => image.data.set([r, g, b, 255 * Math.sqrt(w / top)], 4 * (t * canvas.width + s))));
      context.putImageData(image, 0, 0);
    }

    function overlay(example, item, columns) {
      const [height, width] = item.extent.map(Math.ceil), canvas = make("canvas", {width: Math.round(item.extent[1] * 8), height: Math.round(item.extent[0] * 8)});
      const small = make("canvas", {width, height}), context = canvas.getContext("2d");
      const element = make("div", {className: "picture"}, ...(example.image ? [make("img", {src: example.image, alt: "the picture"})] : []), canvas);
      if (!example.image) { element.style.width = "240px"; element.style.aspectRatio = `${width} / ${height}`; }
      return {element, light(row) {
        const image = small.getContext("2d").createImageData(width, height), top = Math.max(...row, 1e-9);
        image.data.fill(0);
        for (let n = 3; n < image.data.length; n += 4) image.data[n] = 200;
        item.cells.forEach(([y, x], s) => { image.data[4 * (y * width + x) + 3] = 200 * (1 - row[s] / top); });
        small.getContext("2d").putImageData(image, 0, 0);
        context.clearRect(0, 0, canvas.width, canvas.height);
        context.imageSmoothingEnabled = true;
        context.imageSmoothingQuality = "high";
        const [rows, columns] = item.extent;  // the last cells may be partly padding, which the image does not show
        context.drawImage(small, 0, 0, columns, rows, 0, 0, canvas.width, canvas.height);
      }};
    }
  }
  addEventListener("beforeprint", () => all("details").forEach(details => { details.open = true; }));
})();
