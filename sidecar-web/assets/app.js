// What pages do beyond standing there: numbers that move, charts that can be
// touched, lines that can be copied. Pages work without any of it.
"use strict";
(() => {
  const all = (selector, root = document) => root.querySelectorAll(selector);
  const nbsp = "\u00a0";

  /* Numbers as the server writes them (format.go). */
  function si(v, unit) {
    const prefixes = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
    let i = 0;
    while (v >= 999.5 && i < prefixes.length - 1) { v /= 1000; i++; }
    const digits = i === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.max(v, 1))));
    return v.toFixed(digits) + nbsp + prefixes[i] + unit;
  }
  const count = (n) => n.toLocaleString("en-US");

  function span(seconds) {
    const s = Math.max(0, Math.floor(seconds));
    if (s < 60) return s + nbsp + "s";
    if (s < 3600) return Math.floor(s / 60) + nbsp + "min";
    if (s < 6 * 3600 && s % 3600 >= 60) return Math.floor(s / 3600) + nbsp + "h" + nbsp + Math.floor(s % 3600 / 60) + nbsp + "min";
    if (s < 2 * 86400) return Math.floor(s / 3600) + nbsp + "h";
    return Math.floor(s / 86400) + nbsp + "days";
  }

  /* How long ago. The visitor's clock may be wrong: the page says when it was written. */
  const written = document.querySelector("footer time");
  const skew = written ? Date.now() - Date.parse(written.dateTime) : 0;
  const wrong = Math.abs(skew) > 10 * 60 * 1000 ? skew : 0;
  function tick() {
    for (const t of all("time[data-ago]")) {
      const age = (Date.now() - wrong - Date.parse(t.dateTime)) / 1000;
      const text = age < 5 ? "just now" : span(age) + " ago";
      if (t.textContent !== text) t.textContent = text;
    }
  }
  setInterval(tick, 5000);

  /* Live numbers: a stream, or where that fails a question now and then. */
  function show(message) {
    for (const e of all("[data-live]")) {
      const text = message.values[e.dataset.live];
      if (text === undefined || e.textContent === text) continue;
      e.textContent = text;
      e.classList.remove("changed");
      void e.offsetWidth;
      e.classList.add("changed");
    }
    for (const t of all("time[data-time]")) {
      const at = message.times[t.dataset.time];
      if (at && t.dateTime !== at) { t.dateTime = at; t.title = at; }
    }
    for (const m of all("[data-meter]")) {
      const mille = message.meters[m.dataset.meter];
      if (mille !== undefined) m.setAttribute("width", mille);
    }
    tick();
  }
  const state = document.querySelector("[data-state]");
  function say(text, awake) {
    if (!state) return;
    state.hidden = false;
    state.classList.toggle("asleep", !awake);
    if (state.textContent !== text) state.textContent = text;
  }
  const stream = document.body.dataset.stream;
  if (stream) {
    let source = null, failures = 0, polling = 0;
    const poll = async () => {
      try {
        const answer = await fetch(stream.replace(/\/live/, "/live.json"), { headers: { Accept: "application/json" } });
        if (!answer.ok) throw new Error(answer.status);
        show(await answer.json());
        say("live, every 15 s", true);
      } catch (e) { say("no connection", false); }
    };
    const listen = () => {
      if (!window.EventSource) { polling = polling || setInterval(poll, 15000); return; }
      source = new EventSource(stream);
      source.onmessage = (event) => { failures = 0; show(JSON.parse(event.data)); say("live", true); };
      source.onerror = () => {
        failures++;
        say("connecting", false);
        if (failures >= 3 || source.readyState === EventSource.CLOSED) {
          source.close();
          source = null;
          if (!polling) { poll(); polling = setInterval(poll, 15000); }
        }
      };
    };
    // A page that nobody looks at asks for nothing.
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) {
        if (source) source.close();
        source = null;
        clearInterval(polling);
        polling = 0;
      } else if (!source && !polling) { failures = 0; listen(); }
    });
    addEventListener("pagehide", () => { if (source) source.close(); source = null; });
    listen();
  }

  /* Colours */
  const themes = ["auto", "light", "dark"];
  const switcher = document.querySelector("[data-theme-switch]");
  if (switcher) {
    switcher.hidden = false;
    const words = switcher.querySelector(".hidden"), sign = switcher.firstElementChild;
    const tell = (theme) => {
      words.textContent = "Colours: " + (theme === "auto" ? "as the system" : theme);
      switcher.title = words.textContent;
      sign.textContent = { auto: "◐", light: "○", dark: "●" }[theme];
    };
    tell(document.documentElement.dataset.theme || "auto");
    switcher.addEventListener("click", () => {
      const now = document.documentElement.dataset.theme || "auto";
      const next = themes[(themes.indexOf(now) + 1) % themes.length];
      if (next === "auto") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = next;
      try { localStorage.setItem("theme", next); } catch (e) { /* not kept */ }
      tell(next);
      document.dispatchEvent(new Event("recolour"));
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("recolour")));

  /* Copying, and one's own address in the lines to copy */
  for (const button of all("[data-copy]")) {
    if (!navigator.clipboard) break;
    button.hidden = false;
    button.addEventListener("click", async () => {
      const from = button.parentElement.querySelector("[data-copied], pre");
      try {
        await navigator.clipboard.writeText(from.textContent.trim());
        button.textContent = "Copied";
      } catch (e) { button.textContent = "Select it"; }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }
  const filler = document.querySelector("[data-fill]");
  if (filler) {
    filler.hidden = false;
    filler.addEventListener("submit", (event) => event.preventDefault());
    filler.querySelector("input").addEventListener("input", (event) => {
      const text = event.target.value.trim().replace(/[^A-Za-z0-9]/g, "") || "YOUR_ADDRESS";
      for (const e of all("[data-address]")) e.textContent = text;
    });
  }

  /* Charts */
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const two = (n) => String(n).padStart(2, "0");
  const months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
  function moment(unix, step) {
    const d = new Date(unix * 1000);
    const clock = two(d.getUTCHours()) + ":" + two(d.getUTCMinutes());
    return d.getUTCDate() + " " + months[d.getUTCMonth()] + (step < 86400 ? ", " + clock : "");
  }

  class Chart {
    constructor(figure) {
      this.figure = figure;
      this.box = figure.querySelector("[data-plot]");
      this.read = figure.querySelector("[data-read]");
      this.still = this.read.textContent;
      this.url = figure.dataset.chart;
      for (const link of all("[data-span]", figure)) {
        link.addEventListener("click", (event) => {
          if (event.metaKey || event.ctrlKey) return;
          event.preventDefault();
          for (const l of all("[data-span]", figure)) l.removeAttribute("aria-current");
          link.setAttribute("aria-current", "true");
          this.url = this.url.replace(/span=\w+/, "span=" + link.dataset.span);
          history.replaceState(null, "", link.href);
          this.load();
        });
      }
      document.addEventListener("recolour", () => this.draw());
      new ResizeObserver(() => {
        if (this.plot && this.plot.width !== this.box.clientWidth) this.plot.setSize(this.size());
      }).observe(this.box);
      setInterval(() => { if (!document.hidden) this.load(); }, 60000);
      this.load();
    }
    size() { return { width: this.box.clientWidth, height: 240 }; }
    async load() {
      this.box.classList.add("loading");
      try {
        const answer = await fetch(this.url);
        if (!answer.ok) throw new Error(answer.status);
        this.series = await answer.json();
        this.draw();
      } catch (e) {
        if (!this.plot) return; // what the server has drawn stays
        this.read.textContent = "These numbers could not be renewed.";
      } finally { this.box.classList.remove("loading"); }
    }
    draw() {
      const s = this.series;
      if (!s) return;
      if (this.plot) this.plot.destroy();
      this.plot = null;
      const points = s.points;
      const highest = Math.max(0, ...points.map((p) => p.hashes_per_second));
      if (highest === 0 || points.length < 2) {
        const empty = document.createElement("p");
        empty.className = "empty";
        empty.textContent = "No shares in this time. The line begins with the first one.";
        this.box.replaceChildren(empty);
        this.read.textContent = "";
        return;
      }
      const mean = points.reduce((sum, p) => sum + p.hashes_per_second, 0) / points.length;
      this.still = "On average " + si(mean, "H/s") + ", at most " + si(highest, "H/s") + ", in the end " + si(points[points.length - 1].hashes_per_second, "H/s") + ".";
      this.read.textContent = this.still;
      this.box.replaceChildren();
      this.box.setAttribute("role", "img");
      this.box.setAttribute("aria-label", this.figure.querySelector("h3").textContent + ". " + this.still);
      const font = "12px " + getComputedStyle(document.body).fontFamily;
      const quiet = colour("--quiet"), line = colour("--line");
      this.plot = new uPlot({
        ...this.size(),
        padding: [10, 20, 0, 0],
        tzDate: (unix) => uPlot.tzDate(new Date(unix * 1e3), "Etc/UTC"),
        legend: { show: false },
        cursor: { y: false, drag: { setScale: false, x: false, y: false }, points: { size: 9, fill: colour("--paper"), width: 2, stroke: colour("--accent") } },
        scales: { y: { range: (u, low, high) => [0, high * 1.08] } },
        axes: [
          { stroke: quiet, font, grid: { show: false }, ticks: { stroke: line, size: 5 }, size: 30, space: 64, ...this.dates(s) },
          { stroke: quiet, font, size: 80, grid: { stroke: line, width: 1 }, ticks: { show: false }, space: 44, values: (u, values) => values.map((v) => si(v, "H/s").replace(/\.0+(?=\u00a0)/, "")) },
        ],
        series: [{}, { stroke: colour("--accent"), width: 2, fill: colour("--wash"), points: { show: false } }],
        hooks: { setCursor: [(u) => this.hover(u.cursor.idx)] },
      }, [points.map((p) => p.at), points.map((p) => p.hashes_per_second)], this.box);
      this.plot.over.addEventListener("touchmove", (event) => {
        const edge = this.plot.over.getBoundingClientRect();
        this.plot.setCursor({ left: event.touches[0].clientX - edge.left, top: 10 });
      }, { passive: true });
    }
    dates(s) {
      const day = s.points.length === 0 || s.points[s.points.length - 1].at - s.points[0].at < 2 * 86400;
      return { values: (u, splits) => splits.map((unix) => {
        const d = new Date(unix * 1000);
        return day ? two(d.getUTCHours()) + ":" + two(d.getUTCMinutes()) : d.getUTCHours() === 0 ? d.getUTCDate() + " " + months[d.getUTCMonth()] : "";
      }) };
    }
    hover(i) {
      const p = i == null ? null : this.series.points[i];
      this.read.textContent = p === null ? this.still
        : moment(p.at, this.series.step_seconds) + " UTC: " + si(p.hashes_per_second, "H/s") + ", " + count(p.shares) + (p.shares === 1 ? " share" : " shares")
          + (p.rejected ? ", " + count(p.rejected) + " rejected" : "") + ".";
    }
  }
  if (window.uPlot) for (const figure of all("[data-chart]")) new Chart(figure);
})();
