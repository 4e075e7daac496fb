"use strict";
// What a page can do beyond being read: without this script everything is shown, as in print.
(() => {
  const SEARCHED_FROM = 10; // rows
  // Rows that are shown of a longer table; the style sheet shows 3 of them on a narrow page.
  const [SHOWN, NARROW] = [10, 3];
  const MISSING = "–";

  const make = (tag, attributes, ...inside) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...inside);
    return element;
  };

  // Tables that sort and search

  const key = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    return text === "" || text === MISSING ? null : text;
  };

  const compare = (a, b) => {
    const [left, right] = [Number(a), Number(b)];
    if (Number.isFinite(left) && Number.isFinite(right)) return left - right;
    return a.localeCompare(b, undefined, { numeric: true });
  };

  const sort = (table, column, direction) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [key(row, column), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // missing ones last
      return direction * compare(a, b);
    });
    body.append(...rows.map(([, row]) => row));
  };

  const sortable = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button", class: "ca-sort" }, ...head.childNodes);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        sort(table, column, up ? 1 : -1);
      });
    });
  };

  // Where rows are cards, there are no headings to press.
  const choosable = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    const options = heads.map((head, column) => make("option", { value: column }, head.textContent));
    const select = make("select", {}, make("option", { value: "" }, "as it is"), ...options);
    select.addEventListener("change", () => {
      if (select.value === "") return;
      whole(table);
      const column = Number(select.value);
      // Most of a number first; texts by the alphabet.
      const up = !heads[column].classList.contains("ca-number");
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
      sort(table, column, up ? 1 : -1);
    });
    const cards = table.classList.contains("ca-wide") ? "ca-sort-by ca-wide-cards" : "ca-sort-by";
    table.before(make("label", { class: cards }, "Sort by ", select));
  };

  const searchable = (table) => {
    const rows = [...table.tBodies[0].rows];
    const told = make("output", { class: "ca-faint" });
    const field = make("input", { type: "search", placeholder: "Search" });
    field.setAttribute("aria-label", "Search this table");
    field.addEventListener("input", () => {
      whole(table);
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
      const shown = rows.filter((row) => !row.hidden).length;
      told.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
    });
    table.before(make("div", { class: "ca-search" }, field, told));
  };

  // A long table shows its first rows; one more row takes less room than a button that shows it.
  const shorten = (table, rows) => {
    const button = make("button", { type: "button", class: "ca-all" }, `Show all ${rows} rows`);
    table.classList.add("ca-short");
    table.classList.toggle("ca-long", rows > SHOWN + 2);
    table.after(button);
    button.addEventListener("click", () => whole(table));
  };

  const whole = (table) => {
    table.classList.remove("ca-short");
    if (table.nextElementSibling?.matches(".ca-all")) table.nextElementSibling.remove();
  };

  for (const table of document.querySelectorAll("table.ca-table")) {
    const rows = table.tBodies[0] ? table.tBodies[0].rows.length : 0;
    if (rows > 1 && table.tHead) {
      choosable(table);
      sortable(table);
    }
    if (table.hasAttribute("data-filtered")) continue;
    if (rows > SEARCHED_FROM) searchable(table);
    if (rows > NARROW + 1) shorten(table, rows);
  }

  // Commands to copy

  for (const command of document.querySelectorAll(".ca-command")) {
    const button = make("button", { type: "button", class: "ca-copy" }, "Copy");
    button.setAttribute("aria-label", `Copy ${command.textContent}`);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(command.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(command); // to be copied by hand
        button.textContent = "Selected";
      }
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
    command.after(button);
  }

  // What there is room for on a wide page is folded on a narrow one; on paper nothing is

  const narrow = matchMedia("(max-width: 48rem)");
  const fit = () => {
    for (const part of document.querySelectorAll(".ca-roomy")) part.open = !narrow.matches;
  };
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let part = target?.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
    if (target) target.scrollIntoView();
  };
  narrow.addEventListener("change", fit);
  addEventListener("hashchange", reveal);
  fit();
  reveal();

  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open], .ca-unprinted)")];
    for (const part of folded) part.open = true;
  });
  addEventListener("afterprint", () => folded.forEach((part) => (part.open = false)));

  // Figures that enlarge

  const enlarge = (image) => {
    const close = make("button", { type: "button", autofocus: "" }, "Close");
    const whole = make("img", { src: image.src, alt: image.alt });
    // The wide one, also on a narrow page: there it is moved to be seen.
    const dialog = make("dialog", { class: `ca-figure ${image.className}` }, close, whole);
    dialog.setAttribute("aria-label", image.alt || "Figure");
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  };

  for (const image of document.querySelectorAll(".ca-notebook img")) {
    const button = make("button", { type: "button", class: "ca-enlarge", title: "Enlarge" });
    button.setAttribute("aria-label", `Enlarge. ${image.alt}`);
    const figure = image.closest("picture") ?? image;
    figure.replaceWith(button);
    button.append(figure);
    button.addEventListener("click", () => enlarge(image));
  }

  // The list of all runs, filtered; what is chosen is kept in the address, to be passed on

  const form = document.querySelector("form.ca-filter");
  if (form) {
    const table = document.querySelector("table[data-filtered]");
    const rows = [...table.tBodies[0].rows];
    const bars = [...document.querySelectorAll(".ca-trend [data-run]")];
    const told = form.querySelector("output");
    const RANK = { info: 1, warning: 2, critical: 3, failed: 3 };

    const fits = (data, wanted) =>
      (!wanted.source || data.source === wanted.source) &&
      (!wanted.topic || data.topics.split(" ").includes(wanted.topic)) &&
      (!wanted.severity || (wanted.severity === "unknown" ? data.verdict === "unknown" : (RANK[data.severity] ?? 0) >= RANK[wanted.severity])) &&
      (!wanted.from || data.end.slice(0, 10) >= wanted.from) &&
      (!wanted.to || data.start.slice(0, 10) <= wanted.to) &&
      (wanted.text ?? "").toLowerCase().split(/\s+/).every((word) => data.text.includes(word));

    const apply = () => {
      const wanted = Object.fromEntries([...new FormData(form)].filter(([, value]) => value));
      const shown = new Set();
      for (const row of rows) {
        const data = { ...row.dataset, text: row.textContent.toLowerCase() };
        row.hidden = !fits(data, wanted);
        if (!row.hidden) shown.add(row.dataset.run);
      }
      for (const bar of bars) bar.toggleAttribute("hidden", !shown.has(bar.dataset.run));
      told.textContent = `${shown.size} of ${rows.length} runs`;
      const query = new URLSearchParams(wanted).toString();
      history.replaceState(null, "", query ? `#${query}` : location.pathname + location.search);
    };

    for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
      const field = form.elements.namedItem(name);
      if (field) field.value = value;
    }
    form.hidden = false;
    form.addEventListener("input", apply);
    form.addEventListener("reset", () => setTimeout(apply));
    form.addEventListener("submit", (event) => event.preventDefault());
    apply();
  }
})();
