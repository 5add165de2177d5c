"use strict";
(() => {
  const read = (id) => { const e = document.getElementById(id); return e ? JSON.parse(e.textContent) : null; };
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const box = document.getElementById("tip");
  const trials = read("trials") || {};
  const map = read("map-data");
  document.documentElement.classList.add("js");

  // What each mark says: of a trial the same everywhere, of a sensor its error at the chosen horizon.
  const ahead = () => { const e = document.querySelector('input[name="ahead"]:checked'); return e ? e.value : null; };
  const told = (mark) => {
    if (mark.dataset.t !== undefined) return trials[mark.dataset.t] || [];
    const values = map ? Object.keys(map.errors).map((m) => {
      const v = map.errors[m][mark.dataset.s];
      return `${m} min ahead: ${v === null ? "no reading" : `${v.toFixed(2)} mph`}`;
    }) : [];
    return [`Sensor ${mark.dataset.s}`, ...values];
  };
  const marks = all("svg.marks [data-t], svg.marks [data-s]");
  const byTrial = new Map();
  for (const mark of marks) {
    const lines = told(mark);
    mark.setAttribute("role", "img");
    mark.setAttribute("aria-label", lines.join(", "));
    mark.setAttribute("tabindex", "-1");
    if (mark.dataset.t !== undefined) {
      if (!byTrial.has(mark.dataset.t)) byTrial.set(mark.dataset.t, []);
      byTrial.get(mark.dataset.t).push(mark);
    }
  }
  // One stop of the Tab key for each chart; arrow keys go from mark to mark.
  const ofChart = new Map();
  for (const chart of all("svg.marks")) {
    const key = (m) => Number(m.dataset.t !== undefined ? m.dataset.t : m.dataset.s);
    const own = all("[data-t], [data-s]", chart).filter((m) => !m.classList.contains("curve"));
    own.sort((a, b) => key(a) - key(b));
    ofChart.set(chart, own);
    if (own.length) own[0].setAttribute("tabindex", "0");
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const now = own.indexOf(document.activeElement);
      if (now < 0 || (!step && event.key !== "Home" && event.key !== "End")) return;
      event.preventDefault();
      const next = event.key === "Home" ? 0 : event.key === "End" ? own.length - 1 : (now + step + own.length) % own.length;
      own[now].setAttribute("tabindex", "-1");
      own[next].setAttribute("tabindex", "0");
      own[next].focus();
    });
  }

  let hot = [];
  const cool = () => { for (const m of hot) m.classList.remove("hot"); hot = []; box.style.display = "none"; };
  const place = (x, y) => {
    box.style.display = "block";
    const width = document.documentElement.clientWidth;
    const left = Math.max(6, Math.min(x + 14, width - box.offsetWidth - 6));
    const above = y - box.offsetHeight - 12;
    box.style.left = `${left + window.scrollX}px`;
    box.style.top = `${(above > 4 ? above : y + 18) + window.scrollY}px`;
  };
  const show = (mark, x, y) => {
    cool();
    hot = mark.dataset.t !== undefined ? byTrial.get(mark.dataset.t) : [mark];
    for (const m of hot) m.classList.add("hot");
    box.textContent = told(mark).join("\n");
    place(x, y);
  };
  const near = (chart, x, y) => {
    let best = null, least = 22 * 22;
    for (const m of ofChart.get(chart) || []) {
      if (m.classList.contains("parallel")) continue;
      const r = m.getBoundingClientRect();
      const dx = Math.max(r.left - x, 0, x - r.right), dy = Math.max(r.top - y, 0, y - r.bottom);
      if (dx * dx + dy * dy < least) { least = dx * dx + dy * dy; best = m; }
    }
    return best;
  };
  document.addEventListener("pointerover", (event) => {
    const mark = event.target.closest ? event.target.closest("svg.marks [data-t], svg.marks [data-s]") : null;
    if (mark) show(mark, event.clientX, event.clientY);
    else if (!event.target.closest || !event.target.closest("svg.marks")) cool();
  });
  document.addEventListener("pointerdown", (event) => {
    const chart = event.target.closest ? event.target.closest("svg.marks") : null;
    if (!chart || event.target.classList.contains("brush")) return;
    const mark = event.target.closest("[data-t], [data-s]") || near(chart, event.clientX, event.clientY);
    if (mark) show(mark, event.clientX, event.clientY); else cool();
  });
  document.addEventListener("focusin", (event) => {
    if (!event.target.matches || !event.target.matches("svg.marks [data-t], svg.marks [data-s]")) return;
    if (!event.target.matches(":focus-visible")) return;
    const r = event.target.getBoundingClientRect();
    show(event.target, Math.min(r.right, r.left + 40), r.top);
  });
  document.addEventListener("focusout", cool);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") { cool(); clear(); } });

  // Parallel coordinates: what is dragged over on an axis is kept, everything else fades, in all charts.
  const kept = new Map();
  const points = (d) => d.slice(1).split(/[ML]/).map((p) => p.split(" ").map(Number));
  const apply = (chart) => {
    const axes = all(".brush", chart);
    const wanted = axes.map((a, i) => [i, kept.get(a), a.dataset.along === "y" ? 1 : 0]).filter((w) => w[1]);
    const inside = new Set(), lines = all(".parallel[data-t]", chart);
    for (const line of lines) {
      const at = points(line.getAttribute("d"));
      if (at.length !== axes.length || wanted.every(([i, [a, b], c]) => at[i][c] >= a - 1 && at[i][c] <= b + 1)) inside.add(line.dataset.t);
    }
    for (const [t, list] of byTrial) for (const m of list) m.classList.toggle("out", wanted.length > 0 && !inside.has(t));
  };
  const drop = (brush) => { kept.delete(brush); if (brush.shade) { brush.shade.remove(); brush.shade = null; } };
  function clear() {
    const charts = new Set(Array.from(kept.keys(), (b) => b.ownerSVGElement));
    for (const b of Array.from(kept.keys())) drop(b);
    for (const chart of charts) apply(chart);
  }
  for (const brush of all(".brush")) {
    const chart = brush.ownerSVGElement, upright = brush.dataset.along === "y";
    let from = null;
    const where = (event) => {
      const r = brush.getBoundingClientRect();
      const share = upright ? (event.clientY - r.top) / r.height : (event.clientX - r.left) / r.width;
      const start = Number(brush.getAttribute(upright ? "y" : "x"));
      return start + Math.min(1, Math.max(0, share)) * Number(brush.getAttribute(upright ? "height" : "width"));
    };
    brush.addEventListener("pointerdown", (event) => {
      for (const b of Array.from(kept.keys())) if (b.ownerSVGElement !== chart) drop(b);
      drop(brush);
      from = where(event);
      brush.setPointerCapture(event.pointerId);
      cool();
    });
    brush.addEventListener("pointermove", (event) => {
      if (from === null) return;
      const to = where(event), a = Math.min(from, to), b = Math.max(from, to);
      if (b - a < 3) return;
      kept.set(brush, [a, b]);
      if (!brush.shade) {
        brush.shade = brush.cloneNode(false);
        brush.shade.setAttribute("class", "kept");
        brush.before(brush.shade);
      }
      brush.shade.setAttribute(upright ? "y" : "x", a);
      brush.shade.setAttribute(upright ? "height" : "width", b - a);
      apply(chart);
    });
    brush.addEventListener("pointerup", () => { from = null; apply(chart); });
    brush.addEventListener("pointercancel", () => { from = null; drop(brush); apply(chart); });
  }

  // Speeds of a day: a cursor with the values at its time.
  for (const chart of all("svg.series")) {
    const s = JSON.parse(chart.dataset.series), bytes = Uint8Array.from(atob(s.values), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer), cursor = chart.querySelector(".cursor");
    const value = (row, i) => { const v = view.getInt16(2 * (row * s.count + i), true); return v < 0 ? "none" : `${(v / 10).toFixed(1)} mph`; };
    const most = Math.min(s.count - 1, s.first + Math.round((chart.viewBox.baseVal.width - Number(s.start) - 14) / s.per));
    let at = null;
    const set = (i) => {
      at = Math.min(most, Math.max(s.first, i));
      const x = Number(s.start) + (at - s.first) * s.per;
      cursor.setAttribute("x1", x); cursor.setAttribute("x2", x); cursor.setAttribute("visibility", "visible");
      const minutes = at * s.minutes, time = `${String(Math.floor(minutes / 60)).padStart(2, "0")}:${String(minutes % 60).padStart(2, "0")}`;
      box.textContent = [time, ...s.names.map((n, row) => `${n}: ${value(row, at)}`)].join("\n");
      const r = chart.getBoundingClientRect();
      place(r.left + x * r.width / chart.viewBox.baseVal.width, r.top + 34);
    };
    const follow = (event) => {
      const r = chart.getBoundingClientRect();
      set(s.first + Math.round(((event.clientX - r.left) * chart.viewBox.baseVal.width / r.width - Number(s.start)) / s.per));
    };
    const hide = () => { cursor.setAttribute("visibility", "hidden"); cool(); };
    chart.addEventListener("pointermove", follow);
    chart.addEventListener("pointerdown", follow);
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("blur", hide);
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, PageUp: 12, PageDown: -12 }[event.key];
      if (!step) return;
      event.preventDefault();
      set(at === null ? s.first : at + step);
      chart.setAttribute("aria-description", box.textContent.replace(/\n/g, ", "));
    });
  }

  // The map at another horizon.
  for (const input of all('input[name="ahead"]')) {
    input.addEventListener("change", () => {
      const errors = map.errors[ahead()];
      for (const dot of all(".sensor")) {
        const v = errors[dot.dataset.s], step = v === null ? -1 : map.limits.filter((limit) => v >= limit).length;
        dot.setAttribute("class", `m sensor ${step < 0 ? "q-none" : `q${step}`}`);
        dot.setAttribute("r", Number(dot.ownerSVGElement.dataset.radius) * (0.8 + 0.14 * Math.max(step, 0)));
      }
    });
  }

  // Tables that can be sorted by a column.
  for (const table of all("table.sortable")) {
    const heads = all("thead th", table), body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((h) => h.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = (row) => { const c = row.cells[column]; return c.dataset.v !== undefined ? Number(c.dataset.v) : c.textContent; };
        const rows = Array.from(body.rows).sort((a, b) => {
          const x = key(a), y = key(b);
          if (x === "" || y === "") return (x === "") - (y === "");  // what is missing stays at the end
          return (down ? -1 : 1) * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
        });
        body.append(...rows);
      });
    });
  }
})();
