// SPDX-License-Identifier: GPL-3.0-or-later
// Details of a cell of the matrix, by mouse, touch and keyboard. The page is complete without it.
(() => {
  "use strict";
  const table = document.querySelector(".matrix");
  const panel = document.querySelector(".panel");
  if (!table || !panel) return;
  const data = JSON.parse(document.getElementById("cells").textContent);
  const words = ["passed", "failed", "could not be looked at", "not asked"];
  const rows = table.tBodies[0].rows;
  let chosen = null;
  let lit = [];

  const make = (tag, text, kind) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };

  const place = (cell) => [cell.parentNode.rowIndex - 1, cell.cellIndex - 1];

  const light = (row, column) => {
    lit.forEach((head) => head.classList.remove("lit"));
    lit = [rows[row].cells[0], table.tHead.rows[0].cells[column + 1]];
    lit.forEach((head) => head.classList.add("lit"));
  };

  const fact = (list, name, text) => {
    if (!text) return;
    const shown = make("dd");
    // What stands between backticks is a command.
    text.split("`").forEach((part, i) => shown.append(i % 2 ? make("code", part) : part));
    list.append(make("dt", name), shown);
  };

  const show = (row, column) => {
    const source = data.names[row];
    const target = data.names[column];
    const cell = data.cells[row + "," + column];
    const title = row === column ? source + ", on the node itself" : source + " → " + target;
    panel.replaceChildren(make("h3", title));
    if (!cell) {
      panel.append(make("p", "Not asked.", "soft"));
      return;
    }
    const parts = cell.n.map((number, i) => (number ? number + " " + words[i] : "")).filter(Boolean);
    if (cell.rtt !== null) parts.push("fastest round trip " + (cell.rtt / 1000).toFixed(2) + " ms");
    const ways = cell.by.length ? "By " + cell.by.join(" and ") + ". " : "";
    panel.append(make("p", ways + "Checks: " + parts.join(", ") + ".", "soft"));
    for (const bad of cell.bad) {
      const list = make("dl", undefined, "facts " + bad.status);
      list.append(make("div", bad.what, "head"));
      for (const name of ["expected", "found", "remedy"]) fact(list, name, bad[name]);
      panel.append(list);
    }
    if (cell.more) panel.append(make("p", cell.more + " more are in report.json.", "soft"));
  };

  const choose = (cell, focus) => {
    if (chosen) {
      chosen.tabIndex = -1;
      chosen.removeAttribute("aria-selected");
    }
    chosen = cell;
    chosen.tabIndex = 0;
    chosen.setAttribute("aria-selected", "true");
    if (focus) chosen.focus({ preventScroll: false });
    const [row, column] = place(cell);
    light(row, column);
    show(row, column);
  };

  table.addEventListener("click", (event) => {
    const cell = event.target.closest("td");
    if (cell) choose(cell, true);
  });
  table.addEventListener("mouseover", (event) => {
    const cell = event.target.closest("td");
    if (cell) light(...place(cell));
  });
  table.addEventListener("mouseleave", () => chosen && light(...place(chosen)));

  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  table.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step || !chosen) return;
    event.preventDefault();
    const [row, column] = place(chosen);
    const next = rows[row + step[0]] && rows[row + step[0]].cells[column + step[1] + 1];
    if (next && next.tagName === "TD") choose(next, true);
  });

  const first = table.querySelector("td.failure") || table.querySelector("td.error");
  if (first) choose(first, false);
  else table.querySelector("td").tabIndex = 0;
  table.addEventListener("focusin", (event) => {
    const cell = event.target.closest("td");
    if (cell && cell !== chosen) choose(cell, false);
  });
})();
