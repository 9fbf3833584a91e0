"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const now = { sentence: 0, rank: 0, position: 0, layer: data.layers - 1, head: -1 };
  const SCALE = 1000;
  const RIGHT_TO_LEFT =
    /^\P{L}*[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;
  const NOTABLE = 0.01; // a difference of scores that is told

  // Texts become text nodes and nothing else. Signs that cannot be seen, or that turn what stands
  // around them, are named; those that join letters are left alone in running text.
  const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;
  const named = (sign) => "[U+" + sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "]";
  const piece = (text) => text.replace(UNSEEN, named);
  const running = (text) =>
    text.replace(UNSEEN, (sign) => (sign === "\u200c" || sign === "\u200d" ? sign : named(sign)));

  function make(tag, settings = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(settings)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  const percent = (share) => (100 * share).toFixed(1) + "\u00a0%";
  const spoken = (text) => piece(text).replaceAll("\u2581", "") || "space";
  const language = (name) =>
    /^[A-Za-z]{2,3}([-_][A-Za-z0-9]+)*$/.test(name || "") ? { lang: name.replaceAll("_", "-") } : {};
  const SOURCE = language(data.source_lang);
  const TARGET = language(data.target_lang);

  // A token is a text, or the name of a symbol that stands for none.
  const word = (text) => ({ text });
  const symbol = (name) => ({ name });
  const said = (token) => (token.name ? token.name : "“" + spoken(token.text) + "”");

  function shown(token, lang) {
    if (token.name) return make("span", { class: "piece symbol" }, token.name);
    const written = make("bdi", { class: "piece", ...lang });
    for (const part of piece(token.text).split(/(\u2581)/)) {
      if (part === "\u2581") written.append(make("span", { class: "mark", "aria-hidden": "true" }, part));
      else if (part) written.append(part);
    }
    return written;
  }

  // Which way a strip runs, by its first letter: elements isolated from what surrounds them do not count
  // for `dir="auto"`.
  function direction(tokens) {
    const letters = tokens.map((token) => token.text || "").join("");
    return RIGHT_TO_LEFT.test(letters) ? "rtl" : "ltr";
  }

  function heated(element, share) {
    element.style.setProperty("--p", share.toFixed(3));
    if (share < 0.0005) element.classList.add("faint");
    return element;
  }

  const sentence = () => data.sentences[now.sentence];
  const translation = () => sentence().translations[now.rank];
  const targetTokens = () => [...translation().subwords.map(word), symbol("end")];
  const sourceTokens = () => [...sentence().subwords.map(word), symbol("end")];

  // Words that the decoder had read, and the sentences before it: what its memories are named after.
  function readTokens() {
    return translation().read.map((text, place) => {
      const token = text === null ? symbol("begin") : word(text);
      return { ...token, before: place < translation().carried };
    });
  }

  function ofHeads(rows) {
    if (now.head >= 0) return rows[now.head];
    const sum = new Array(rows[0].length).fill(0);
    for (const row of rows)
      row.forEach((value, place) => {
        sum[place] += value;
      });
    return sum.map((value) => value / rows.length);
  }

  const NOTE =
    "Each place is named after the subword that was read there, the one before that which was written there.";

  // The place after the last word that a position sees, among those that were read.
  const endOfPast = (position) => position + translation().carried + (data.past === "memory" ? 0 : 1);

  // The groups of what was attended to at the chosen position: title, tokens, shares.
  function groups() {
    const layer = translation().layers[now.layer];
    const found = [];
    if (layer.source.length) {
      found.push({
        title: "Source (cross-attention)",
        short: "Source",
        lang: SOURCE,
        tokens: sourceTokens(),
        shares: ofHeads(layer.source[now.position]),
      });
    }
    const shares = ofHeads(layer.past[now.position]);
    const end = endOfPast(now.position);
    const read = readTokens();
    const tokens = read.slice(end - shares.length, end);
    if (data.past === "memory") {
      found.push({
        title: "Memory of all positions before",
        short: "Memory",
        lang: TARGET,
        tokens,
        shares,
        note: NOTE,
        empty: "At the first position there is no memory yet.",
      });
    } else if (data.past === "self") {
      found.push({
        title: "Translation so far (self-attention)",
        short: "Translation so far",
        lang: TARGET,
        tokens,
        shares,
        note: NOTE,
      });
    } else {
      found.push(...segmentGroups(layer, shares, read, tokens));
    }
    return found;
  }

  function segmentGroups(layer, shares, read, tokens) {
    const [compressed, recent] = layer.in_view[now.position];
    const carried = translation().carried;
    const spans = layer.spans[now.position].map((span) => {
      if (span === null) return { ...symbol("earlier"), before: true };
      const words = read.slice(carried + span[0], carried + span[1]);
      return {
        text: words.map((token) => token.name || token.text).join(" "),
        before: words.every((token) => token.before),
      };
    });
    const found = [
      {
        title: "Compressed memory",
        short: "Compressed memory",
        lang: TARGET,
        tokens: spans,
        shares: shares.slice(0, compressed),
        empty: "Nothing is compressed yet.",
      },
      {
        title: "Memory",
        short: "Memory",
        lang: TARGET,
        tokens: tokens.slice(compressed, compressed + recent),
        shares: shares.slice(compressed, compressed + recent),
        empty: "The memory is empty in the first segment.",
      },
      {
        title: "Segment",
        short: "Segment",
        lang: TARGET,
        tokens: tokens.slice(compressed + recent),
        shares: shares.slice(compressed + recent),
      },
    ];
    const several = data.compressed ? found : found.slice(1);
    several[0].note = NOTE;
    return several;
  }

  const total = (shares) => shares.reduce((sum, value) => sum + value, 0) / SCALE;

  function panel(group) {
    const several = data.past === "segments" && group.short !== "Source";
    const title = make(
      "h3",
      {},
      group.title +
        (several && group.shares.length
          ? ", " + percent(total(group.shares)) + " of the attention to the past"
          : ""),
    );
    if (!group.shares.length)
      return make("div", {}, title, make("p", { class: "quiet" }, group.empty || "Nothing."));
    const list = make("ol", { class: "strip", "aria-label": group.title, dir: direction(group.tokens) });
    group.tokens.forEach((token, place) => {
      const share = group.shares[place] / SCALE;
      const chip = make(
        "li",
        { class: token.before ? "chip before" : "chip" },
        shown(token, group.lang),
        make("span", { class: "number" }, percent(share)),
      );
      if (token.before) chip.append(make("span", { class: "unseen" }, ", in a sentence before"));
      list.append(heated(chip, share));
    });
    const dashed = group.tokens.some((token) => token.before) ? " Dashed: in the sentences before." : "";
    const note = group.note || dashed ? [make("p", { class: "quiet" }, (group.note || "") + dashed)] : [];
    return make("div", {}, title, ...note, list);
  }

  function summary(found) {
    const tokens = targetTokens();
    const chance = Math.exp(translation().scores[now.position]);
    const heads = now.head < 0 ? "mean of the heads" : "head " + (now.head + 1);
    const told = [
      "Position " +
        (now.position + 1) +
        " of " +
        tokens.length +
        ": " +
        said(tokens[now.position]) +
        ", probability " +
        percent(chance) +
        ".",
    ];
    for (const group of found) {
      const best = group.shares
        .map((share, place) => [share, place])
        .sort((a, b) => b[0] - a[0])
        .slice(0, 3)
        .filter((pair) => pair[0] > 0);
      if (best.length)
        told.push(
          group.short +
            ": " +
            best
              .map(([share, place]) => said(group.tokens[place]) + " " + percent(share / SCALE))
              .join(", ") +
            ".",
        );
    }
    told.push("Layer " + (now.layer + 1) + ", " + heads + ".");
    return told.join(" ");
  }

  function showPosition() {
    const found = groups();
    byId("panels").replaceChildren(...found.map(panel));
    byId("chosen").textContent = summary(found);
    markRow();
    showMixture();
    [...byId("subwords").children].forEach((button, place) => {
      const chosen = place === now.position;
      button.setAttribute("aria-checked", String(chosen));
      button.tabIndex = chosen ? 0 : -1;
    });
  }

  // A table of shares in percent, a row for each position; a row may begin at a later column.
  function grid(title, lang, columns, rows) {
    const head = columns.map((token) => make("th", { scope: "col" }, shown(token, lang)));
    const body = rows.map(({ first, shares }, place) => {
      const cells = columns.map((token, column) => {
        const value = shares[column - first];
        if (value === undefined) return make("td");
        return heated(make("td", {}, String(Math.round((100 * value) / SCALE))), value / SCALE);
      });
      const row = make(
        "tr",
        {},
        make("th", { scope: "row" }, shown(targetTokens()[place], TARGET)),
        ...cells,
      );
      row.addEventListener("click", () => choosePosition(place, false));
      return row;
    });
    const parts = [make("caption", {}, title), make("thead", {}, make("tr", {}, make("td"), ...head))];
    const table = make("table", { dir: direction(columns) }, ...parts, make("tbody", {}, ...body));
    return make("div", { class: "grid", role: "region", tabindex: "0", "aria-label": title }, table);
  }

  // They are made when they are looked at, and not anew for each position.
  function showGrids() {
    if (!byId("all").open) return;
    const layer = translation().layers[now.layer];
    const found = [];
    if (layer.source.length) {
      const rows = layer.source.map((one) => ({ first: 0, shares: ofHeads(one) }));
      found.push(grid("Source (cross-attention)", SOURCE, sourceTokens(), rows));
    }
    if (data.past !== "segments") {
      const rows = layer.past.map((one, position) => {
        const shares = ofHeads(one);
        return { first: endOfPast(position) - shares.length, shares };
      });
      const title = data.past === "memory" ? "Memory" : "Translation so far (self-attention)";
      const used = readTokens().slice(0, endOfPast(rows.length - 1));
      found.push(grid(title, TARGET, used, rows));
    }
    byId("grids").replaceChildren(...found);
    markRow();
  }

  function markRow() {
    for (const body of byId("grids").querySelectorAll("tbody")) {
      [...body.children].forEach((row, place) => {
        if (place === now.position) row.setAttribute("aria-current", "true");
        else row.removeAttribute("aria-current");
      });
    }
  }

  // Which states the memory of the chosen position is made of, a strip for each of its channels.
  function showMixture() {
    const all = translation().mixtures;
    byId("mixture").hidden = !all.length;
    if (!all.length) return;
    const channels = all[Math.min(now.position, all.length - 1)];
    const told = data.routed
      ? "What the memory is made of that this position leaves to those after it."
      : "What each memory is made of, the same at all positions.";
    const several = " Layer l reads channel l, counted anew after the last channel.";
    byId("mixed").textContent = told + (channels.length > 1 ? several : "");
    byId("shares").replaceChildren(
      ...channels.map((shares, number) => {
        const title = channels.length > 1 ? [make("h3", {}, "Channel " + (number + 1))] : [];
        const list = make("ol", { class: "strip" });
        shares.forEach((value, n) => {
          const name = make("span", { class: "piece" }, n === 0 ? "embedding" : "layer " + n);
          const share = make("span", { class: "number" }, percent(value / SCALE));
          list.append(heated(make("li", { class: "chip" }, name, share), value / SCALE));
        });
        return make("div", {}, ...title, list);
      }),
    );
  }

  function choosePosition(place, focus) {
    now.position = place;
    showPosition();
    if (focus) byId("subwords").children[place].focus();
  }

  function showTranslation() {
    const tokens = targetTokens();
    now.position = Math.min(now.position, tokens.length - 1);
    byId("subwords").setAttribute("dir", direction(tokens));
    const gap = translation().gap;
    byId("gap").hidden = gap < NOTABLE;
    byId("gap").textContent =
      "The attention was recorded as the model wrote this translation once more. That pass rounds" +
      " otherwise than the search: its subwords' scores (natural logarithms) differ by up to " +
      gap.toFixed(3) +
      ".";
    byId("subwords").replaceChildren(
      ...tokens.map((token, place) => {
        const chance = Math.exp(translation().scores[place]);
        const button = make(
          "button",
          { type: "button", class: "chip", role: "radio" },
          shown(token, TARGET),
          make("span", { class: "number" }, percent(chance)),
        );
        button.addEventListener("click", () => choosePosition(place, true));
        return heated(button, chance);
      }),
    );
    showPosition();
    showGrids();
  }

  function showSentence() {
    byId("source").textContent = running(sentence().text);
    byId("nbest").replaceChildren(
      ...sentence().translations.map((one, rank) => {
        const input = make("input", { type: "radio", name: "rank", value: String(rank) });
        input.checked = rank === now.rank;
        input.addEventListener("change", () => {
          now.rank = rank;
          showTranslation();
        });
        const score = make(
          "span",
          { class: "number", title: "log-probability over the length" },
          one.score.toFixed(3),
        );
        return make("label", { class: "option" }, input, score, make("bdi", TARGET, running(one.text)));
      }),
    );
    showTranslation();
  }

  function moved(key, place, last) {
    const turned = getComputedStyle(byId("subwords")).direction === "rtl";
    const forward = turned ? "ArrowLeft" : "ArrowRight";
    const back = turned ? "ArrowRight" : "ArrowLeft";
    if (key === forward || key === "ArrowDown") return Math.min(place + 1, last);
    if (key === back || key === "ArrowUp") return Math.max(place - 1, 0);
    if (key === "Home") return 0;
    return key === "End" ? last : null;
  }

  byId("subwords").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const place = moved(event.key, now.position, targetTokens().length - 1);
    if (place === null) return;
    event.preventDefault();
    choosePosition(place, true);
  });

  function fill(select, names, chosen, change) {
    select.replaceChildren(...names.map(([value, name]) => make("option", { value: String(value) }, name)));
    select.value = String(chosen);
    select.addEventListener("change", () => change(Number(select.value)));
  }

  function begin() {
    for (const [name, value] of Object.entries(SOURCE)) byId("source").setAttribute(name, value);
    const layers = data.layers === 1 ? "1 decoder layer" : data.layers + " decoder layers";
    byId("about").textContent = [piece(data.model), data.decoder + " decoder", layers]
      .filter(Boolean)
      .join(" · ");
    const heads = data.sentences[0].translations[0].layers[0].past[0].length;
    const numbers = (count) => [...Array(count).keys()];
    fill(
      byId("layer"),
      numbers(data.layers).map((n) => [n, String(n + 1)]),
      now.layer,
      (n) => {
        now.layer = n;
        showPosition();
        showGrids();
      },
    );
    fill(
      byId("head"),
      [[-1, "mean of " + heads], ...numbers(heads).map((n) => [n, String(n + 1)])],
      now.head,
      (n) => {
        now.head = n;
        showPosition();
        showGrids();
      },
    );
    byId("all").addEventListener("toggle", showGrids);
    byId("which").hidden = data.sentences.length === 1;
    fill(
      byId("sentence"),
      data.sentences.map((one, n) => [
        n,
        (one.document ? "document " + one.document + ", " : "") +
          (n + 1) +
          ": " +
          running(one.text).slice(0, 60),
      ]),
      0,
      (n) => {
        Object.assign(now, { sentence: n, rank: 0, position: 0 });
        showSentence();
      },
    );
    showSentence();
  }

  begin();
})();
