
"use strict";
(() => {
  const PAUSE = 400; // milliseconds without a key until a text is translated
  const byId = (id) => document.getElementById(id);
  const source = byId("source"), status = byId("status"), sides = byId("sides");
  let models = [], limits = {}, timer = 0;

  function make(tag, settings = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(settings)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  const language = (name) => (/^[A-Za-z]{2,3}([-_][A-Za-z0-9]+)*$/.test(name || "") ? { lang: name.replaceAll("_", "-") } : {});

  async function told(response) {
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error((answer.error && answer.error.message) || "the server answers " + response.status);
    return answer;
  }

  // One column: a model, a beam, and its translations of the text.
  class Side {
    constructor(number, model) {
      this.number = number;
      this.element = byId("side").content.firstElementChild.cloneNode(true);
      const find = (name) => this.element.querySelector("." + name);
      [this.model, this.beam, this.nbest, this.lines, this.took] = ["model", "beam", "nbest", "lines", "took"].map(find);
      for (const one of models) this.model.append(new Option(one.name, one.name));
      this.model.value = model;
      for (const input of [this.beam, this.nbest]) input.max = limits.beam;
      for (const input of [this.model, this.beam, this.nbest]) input.addEventListener("change", () => this.translate());
      find("copy").addEventListener("click", () => this.copy());
      this.element.setAttribute("aria-label", number ? "Second translation" : "Translation");
      this.found = [];
      sides.append(this.element);
    }

    about() { return models.find((one) => one.name === this.model.value); }

    wanted() {
      const beam = Math.min(limits.beam, Math.max(1, Number(this.beam.value) || 1));
      return { model: this.model.value, beam, nbest: Math.min(beam, Math.max(1, Number(this.nbest.value) || 1)) };
    }

    async translate() {
      if (this.asking) this.asking.abort();
      const asking = (this.asking = new AbortController());
      const lines = source.value.replace(/\n+$/, "").split("\n");
      if (!source.value.trim()) { this.show([], []); return; }
      this.lines.classList.add("stale");
      const start = performance.now(), wanted = this.wanted();
      try {
        const answer = await told(await fetch("v1/translate", {
          method: "POST", signal: asking.signal,
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ ...wanted, lines }),
        }));
        this.show(lines, answer.translations, wanted);
        this.took.textContent = Math.round(performance.now() - start) + " ms";
        say("");
      } catch (error) {
        if (error.name !== "AbortError") say(error.message);
      }
    }

    show(lines, translations, wanted) {
      this.found = translations.map((some) => ({ some, rank: 0 }));
      this.lines.classList.remove("stale");
      this.lines.replaceChildren(...this.found.map((one, number) => this.line(one, number, lines[number], wanted)));
      if (!translations.length) this.took.textContent = "";
    }

    line(one, number, text, wanted) {
      const group = "line-" + this.number + "-" + number;
      const options = one.some.map((translation, rank) => {
        const written = make("bdi", { class: "text", ...language(this.about().target_lang) }, translation.text);
        if (one.some.length === 1) return make("p", { class: "option only" }, written);
        const button = make("input", { type: "radio", name: group });
        button.checked = rank === one.rank;
        button.addEventListener("change", () => { one.rank = rank; });
        return make("label", { class: "option" }, button, make("span", { class: "number" }, translation.score.toFixed(3)), written);
      });
      const legend = make("legend", { class: "unseen" }, "Translations of line " + (number + 1));
      const item = make("li", {}, make("fieldset", {}, legend, ...options));
      if (text.trim() && this.about().explained) {
        const query = new URLSearchParams({ ...wanted, line: text });
        item.append(make("a", { href: "v1/explain?" + query, target: "_blank", rel: "noopener", class: "quiet",
          "aria-label": "What the model attended to in line " + (number + 1) }, "look inside"));
      }
      return item;
    }

    async copy() {
      const text = this.found.map((one) => one.some[one.rank].text).join("\n");
      try { await navigator.clipboard.writeText(text); say("copied"); } catch { say("this browser does not let a page copy"); }
    }
  }

  const columns = [];
  const say = (text) => { status.textContent = text; };
  const translateAll = () => columns.forEach((side) => side.translate());

  source.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(translateAll, PAUSE); });
  byId("compare").addEventListener("click", () => {
    byId("compare").parentElement.remove();
    const side = new Side(1, models[models.length > 1 ? 1 : 0].name);
    if (models.length === 1) side.beam.value = 1;
    columns.push(side);
    side.translate();
  });

  fetch("v1/models").then(told).then((answer) => {
    ({ models, limits } = answer);
    columns.push(new Side(0, models[0].name));
    for (const [name, value] of Object.entries(language(models[0].source_lang))) source.setAttribute(name, value);
    if (source.value) translateAll();
  }).catch((error) => say(error.message));
})();
