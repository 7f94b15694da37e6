"use strict";
(() => {
  // Sounds lie in the page as base64; each becomes a blob when it is first played.
  const urls = new Map();
  const urlOf = (key) => {
    if (!urls.has(key)) {
      const text = atob(document.getElementById(key).textContent.trim());
      urls.set(key, URL.createObjectURL(new Blob([Uint8Array.from(text, (c) => c.charCodeAt(0))], { type: "audio/flac" })));
    }
    return urls.get(key);
  };
  const clock = (s) => `${Math.floor(s / 60)}:${(s % 60).toFixed(1).padStart(4, "0")}`;
  let current = null;

  // One player a direction. Time is that of what was said; `after` is how much later the listener heard it in the recording.
  class Player {
    constructor(box) {
      this.span = Number(box.dataset.span);
      this.sources = {};
      for (const which of ["heard", "said"]) {
        if (box.dataset[which]) this.sources[which] = { key: box.dataset[which], after: which === "heard" ? Number(box.dataset.after) : 0 };
      }
      this.which = this.sources.heard ? "heard" : "said";
      this.time = 0;
      this.play = box.querySelector(".play");
      this.range = box.querySelector("input[type=range]");
      this.out = box.querySelector("output");
      this.buttons = [...box.querySelectorAll(".switch button")];
      this.tracks = box.querySelector(".tracks");
      this.head = box.querySelector(".head");
      this.play.addEventListener("click", () => this.toggle());
      this.range.addEventListener("input", () => this.seek(Number(this.range.value)));
      this.buttons.forEach((b) => b.addEventListener("click", () => this.choose(b.dataset.which)));
      this.tracks.classList.add("live");
      this.tracks.addEventListener("pointerdown", (event) => {
        if (event.button !== 0) return;
        const area = this.tracks.getBoundingClientRect();
        if (event.clientX < area.left) return;
        this.seek(Math.min(1, (event.clientX - area.left) / area.width) * this.span);
        if (event.pointerType === "mouse" && !this.playing()) this.toggle();
      });
      box.addEventListener("keydown", (event) => {
        if (event.key === "x" && !event.ctrlKey && !event.metaKey && !event.altKey) {
          this.choose(this.which === "heard" ? "said" : "heard");
        }
      });
      this.show();
    }
    audio() {
      const source = this.sources[this.which];
      if (!source.audio) {
        source.audio = new Audio(urlOf(source.key));
        source.audio.addEventListener("ended", () => { this.time = 0; this.stop(); });
        source.audio.addEventListener("error", () => { this.stop(); this.out.textContent = "this browser plays no FLAC"; });
      }
      return source.audio;
    }
    playing() { return current === this; }
    toggle() { if (this.playing()) this.stop(); else this.start(); }
    start() {
      if (current) current.stop();
      current = this;
      if (this.time >= this.span - 0.05) this.time = 0;
      this.resume();
      const step = () => {
        if (current !== this) return;
        this.time = Math.max(0, this.audio().currentTime - this.sources[this.which].after);
        if (this.time >= this.span) { this.time = 0; this.stop(); return; }
        this.show();
        requestAnimationFrame(step);
      };
      requestAnimationFrame(step);
    }
    resume() {
      const audio = this.audio();
      audio.currentTime = Math.max(0, this.time + this.sources[this.which].after);
      const started = audio.play();
      if (started) started.catch((error) => { if (error.name !== "AbortError") this.stop(); });
    }
    stop() {
      for (const source of Object.values(this.sources)) if (source.audio) source.audio.pause();
      if (current === this) current = null;
      this.show();
    }
    seek(time) {
      this.time = Math.min(this.span, Math.max(0, time));
      if (this.playing()) this.resume();
      this.show();
    }
    choose(which) {
      if (!this.sources[which] || which === this.which) return;
      const on = this.playing();
      if (on) this.sources[this.which].audio.pause();
      this.which = which;
      if (on) this.resume();
      this.show();
    }
    show() {
      this.play.textContent = this.playing() ? "❚❚ Pause" : "▶ Play";
      this.range.value = this.time.toFixed(2);
      this.range.setAttribute("aria-valuetext", `${this.time.toFixed(1)} seconds`);
      this.out.textContent = `${clock(this.time)} / ${clock(this.span)}`;
      this.buttons.forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.which === this.which)));
      this.head.style.display = this.time > 0 || this.playing() ? "block" : "none";
      this.head.style.left = `${(100 * this.time) / this.span}%`;
    }
  }
  document.querySelectorAll(".direction[data-span]").forEach((box) => { if (box.querySelector(".play")) new Player(box); });

  // Sorting: a value that was not measured stays at the end either way.
  document.querySelectorAll("table.sortable").forEach((table) => {
    const body = table.tBodies[0];
    table.querySelectorAll("thead th button").forEach((button) => {
      button.addEventListener("click", () => {
        const head = button.closest("th");
        const up = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up === 1 ? "ascending" : "descending");
        const value = (row) => row.cells[head.cellIndex].dataset.v ?? row.cells[head.cellIndex].textContent.trim();
        [...body.rows]
          .map((row) => [value(row), row])
          .sort(([a], [b]) => {
            if (a === "" || b === "") return (a === "") - (b === "");
            return up * (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
          })
          .forEach(([, row]) => body.append(row));
      });
    });
  });

  // A link to a call opens it; printing opens all.
  const open = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", open);
  open();
  const all = [...document.querySelectorAll("details.call")];
  addEventListener("beforeprint", () => all.forEach((d) => { d.dataset.was = d.open; d.open = true; }));
  addEventListener("afterprint", () => all.forEach((d) => { d.open = d.dataset.was === "true"; }));
  const every = document.getElementById("open-all");
  if (every) every.addEventListener("click", () => {
    const closed = all.some((d) => !d.open);
    all.forEach((d) => { d.open = closed; });
    every.textContent = closed ? "Close all" : "Open all";
  });
})();
