"use strict";
(() => {
  const root = document.getElementById("TABLE_ID");
  const table = root && root.querySelector("table");
  if (!table || !table.tHead || root.dataset.ready) return;
  root.dataset.ready = "yes";
  const rows = [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[0].cells];

  const key = (row, column) => {
    const text = row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    return text === "" || text === "–" ? null : text;
  };
  const compare = (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null);
    const [left, right] = [Number(a), Number(b)];
    if (Number.isFinite(left) && Number.isFinite(right)) return left - right;
    return a.localeCompare(b, undefined, { numeric: true });
  };
  heads.forEach((head, column) => {
    if (head.textContent === "Course") return; // lines of bars have no order
    const button = document.createElement("button");
    button.type = "button";
    button.className = "ca-sort";
    button.append(...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.classList.contains("ca-number") // of numbers the largest come first
        ? head.getAttribute("aria-sort") !== "descending"
        : head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = rows.map((row) => [key(row, column), row]);
      keyed.sort(([a], [b]) => (a === null || b === null ? compare(a, b) : (down ? -1 : 1) * compare(a, b)));
      table.tBodies[0].append(...keyed.map(([, row]) => row));
    });
  });

  if (rows.length < 6) return;
  const field = document.createElement("input");
  field.type = "search";
  field.placeholder = "Filter: words, all of them";
  field.setAttribute("aria-label", "Filter this table");
  const told = document.createElement("output");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    told.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  });
  // Keys typed here are text, not commands of the notebook.
  field.addEventListener("keydown", (event) => event.stopPropagation());
  const line = document.createElement("div");
  line.append(field, told);
  table.parentElement.before(line);
})();
